//! What the exhaustive check found, each as the shortest way there.
