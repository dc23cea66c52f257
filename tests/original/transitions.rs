//! Every transition of a mixed pair (resources spec 2.13).
