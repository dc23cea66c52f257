//! Ping nodes, ipfail and pingd of either kind on either side.
