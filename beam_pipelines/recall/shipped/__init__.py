"""Pattern tables that come with the package: `shipped:NAME` in a setting."""
