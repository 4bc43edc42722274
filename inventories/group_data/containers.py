"""The rehearsal hosts."""

databases = {"case_management": "development"}

# `casedb rehearse up` made them up; they die with the hosts.
_folder = ".casedb/rehearsal/passwords"
passwords = {
    role: f"file:{_folder}/{role}"
    for role in (
        "case_migrator",
        "case_app",
        "case_seed",
        "case_backup",
        "case_readonly",
        "case_monitor",
        "case_pooler",
    )
}
