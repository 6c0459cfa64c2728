"""The parts of the report page, one template each. A package so that installs carry them."""
