"""Staging. An example."""

databases = {"case_management": "staging"}

# listen_addresses = "*"
# client_networks = ["10.20.0.0/16"]
# passwords = {"case_app": "command:pass show staging/case_app"}
