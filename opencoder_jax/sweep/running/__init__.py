"""Workers of a plan: records, leases, attempts, hosts that work together, files for clusters."""
