"""Production. An example."""

databases = {"case_management": "production"}

# A changed setting that needs a restart waits for this window (UTC); until then it is pending.
restart = "01:00-03:00"

# listen_addresses = "*"
# client_networks = ["10.10.0.0/16"]
# tls_names = ["db.example.org"]
# passwords = {
#     "case_app": "command:sops -d --extract '[\"case_app\"]' secrets.yaml",
#     "case_backup": "file:/etc/casedb/secrets/case_backup",
# }
# pgadmin_password = "command:pass show production/pgadmin"
# firewall = True
# sudo_password = "command:pass show production/sudo"
# toolkit_settings = {"store": ["s3://backups/production"], "keep_daily": 31}
# timers = {"dump": "hourly"}
# pgdg = {}
# disk = "nvme"
# workload = "oltp"
