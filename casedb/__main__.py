"""`python -m casedb` is `casedb`."""

from casedb.cli import main

if __name__ == "__main__":
    main()
