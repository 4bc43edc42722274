"""What a backup says of itself: its files, and what a restore of it must contain.

The manifest is written last, so a set that has one is complete; and never again, so a set can lie
in a store that forbids changes.
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from casedb.conninfo import redact
from casedb.errors import BackupDamagedError

MANIFEST = "manifest.json"
DUMP = "database.dump.zst"
GLOBALS = "globals.sql"
CATALOG = "catalog.json"
HEADS = "heads.txt.zst"
INSTRUCTIONS = "RESTORE.txt"
PROOF = "proof.json"
"""In encrypted sets only: the whole manifest. In clear lies one without tables, roles and so on."""
CREATION = "create.sql"
"""How RESTORE.txt makes the empty database."""
PROPERTIES = "database.sql"
"""What RESTORE.txt gives it afterwards: owner, grants, settings, comment."""
SEALED_SUFFIX = ".age"
PRINTED_MONEY = "C"
"""The locale that values of type money are dumped in: every server has it."""

ExtensionName = Annotated[str | None, Field(exclude_if=lambda name: name is None)]
"""Whose configuration a table or a sequence is, of which pg_dump takes what that extension says.
None for all others, and then not written: manifests of before do not have it."""
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
"""Of a file in the folder of its set: never a path, which could lead out of it."""


class Frozen(BaseModel):
    """A value that is read from a file and never changed; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FileFacts(Frozen):
    """One file of the set."""

    size_bytes: int
    sha256: str
    raw_size_bytes: int | None = None
    """Its size before compression; None if it is not compressed."""

    def same_bytes(self, other: "FileFacts") -> bool:
        """Whether it is the same file, as far as its bytes tell."""
        return (self.size_bytes, self.sha256) == (other.size_bytes, other.sha256)


class TableFacts(Frozen):
    """What one table (or leaf partition, or materialized view) held in the dump's snapshot.

    The hash parts are two sums over one 64-bit hash a row, so that the order of rows plays no
    role; see backups/content.py.
    """

    schema_name: str
    name: str
    kind: Literal["table", "matview"]
    rows: int
    hash_sum: str
    """A decimal number; text, because it can exceed 64 bits."""
    hash_xor: str
    extension: ExtensionName = None

    @property
    def full_name(self) -> str:
        """SCHEMA.NAME, for people."""
        return f"{self.schema_name}.{self.name}"


class SequenceFacts(Frozen):
    """Where one sequence stood shortly before the dump; a dump holds this or a later value."""

    schema_name: str
    name: str
    last_value: int
    is_called: bool
    increment: int
    extension: ExtensionName = None

    @property
    def full_name(self) -> str:
        """SCHEMA.NAME, for people."""
        return f"{self.schema_name}.{self.name}"

    @property
    def next_value(self) -> int:
        """What nextval() would return."""
        return self.last_value + (self.increment if self.is_called else 0)


class LargeObjects(Frozen):
    """The large objects of the snapshot, hashed as the tables are."""

    count: int
    hash_sum: str
    hash_xor: str


class DatabaseGrant(Frozen):
    """One privilege on the database itself."""

    grantee: str
    """A role's name; empty for PUBLIC."""
    privilege: str
    grantable: bool


class DatabaseSetting(Frozen):
    """One ALTER DATABASE ... SET, or ALTER ROLE ... IN DATABASE ... SET."""

    role: str | None
    name: str
    value: str


class DatabaseProperties(Frozen):
    """What belongs to the database and is in no dump of it."""

    owner: str
    encoding: str
    locale_provider: Literal["libc", "icu", "builtin"]
    collate: str
    ctype: str
    locale: str | None
    """The locale of the providers icu and builtin."""
    icu_rules: str | None
    collation_version: str | None
    connection_limit: int
    comment: str | None
    grants: tuple[DatabaseGrant, ...]
    settings: tuple[DatabaseSetting, ...]


class RoleFacts(Frozen):
    """A role that owns something in the database, or was granted something."""

    name: str
    can_login: bool
    inherits: bool
    create_role: bool
    create_db: bool
    bypass_rls: bool
    replication: bool
    superuser: bool
    member_of: tuple[str, ...]


class ExtensionFacts(Frozen):
    """An installed extension; a restore installs the version its server has."""

    name: str
    version: str


class CollationFacts(Frozen):
    """A collation that was made in the database, or that something in it relies on."""

    name: str
    """As SQL has it; without a schema, it is one that initdb makes."""
    provider: Literal["libc", "icu", "builtin"] | None = None
    """None in manifests of before, which have those alone that were made in the database."""
    locale: str | None = None
    """Of one that was made in the database: what it is made of."""
    version: str | None
    """That of the library when it was made or refreshed; None if its order has none."""
    actual_version: str | None = None
    """That of the library which sorted when it was dumped; None in manifests of before as well."""


class Link(Frozen):
    """One backup in the chain of manifests: which, and what its manifest was."""

    label: str
    manifest_sha256: str
    stores: tuple[str, ...] = ()
    """Where it was put; a store that was added later, or failed that day, does not miss it."""


class Manifest(Frozen):
    """Everything a backup says of itself; times are UTC."""

    schema_version: Literal[1] = 1
    tool_version: str
    server_version: str
    server_major: int
    client_version: str
    bootstrap_superuser: str
    database: str
    label: str
    started_at: AwareDatetime
    """When the snapshot was taken: what was committed before is in, what came after is not."""
    ended_at: AwareDatetime
    snapshot: str
    properties: DatabaseProperties
    roles: tuple[RoleFacts, ...]
    warnings: tuple[str, ...] = ()
    """What whoever dumped was told, such as the known holes of his pg_dump."""
    extensions: tuple[ExtensionFacts, ...]
    collations: tuple[CollationFacts, ...]
    migration_head: str | None
    migration_checksums: Mapping[str, str] = {}
    """By the applied migration's number, the SHA-256 of its text: two backups at one head can be of
    different migrations. Empty in manifests of before, and without any."""
    database_size_bytes: int
    files: Mapping[FileName, FileFacts]
    tables: tuple[TableFacts, ...]
    sequences: tuple[SequenceFacts, ...]
    large_objects: LargeObjects
    lc_monetary: str | None = None
    """The locale that the archive's values of type money are printed in. None in manifests of
    before: there it is that of the source."""
    catalog_sha256: str
    """Of the fingerprint's rows in catalog.json; see backups/fingerprint.py."""
    recipients: tuple[str, ...] = ()
    """The public keys it is encrypted to; none: it lies there in clear."""
    previous: Link | None = None
    """The backup this host took before this one; None for its first."""
    own_sha256: str = ""
    """Of the manifest itself, with this field empty: a flipped digit is still a number."""

    @property
    def rows(self) -> int:
        """All rows of all tables."""
        return sum(t.rows for t in self.tables if t.kind == "table")

    @property
    def size_bytes(self) -> int:
        """What the set takes in the store, the manifest itself left out."""
        return sum(file.size_bytes for file in self.files.values())

    def without_proof(self) -> "Manifest":
        """Return what everybody may know: when, how large, which checksums, and for whom.

        The content hashes are among what is left out: of a table with one row, such a hash would
        confirm a guess at it.
        """
        nothing = LargeObjects(count=0, hash_sum="0", hash_xor="0")
        blank = DatabaseProperties(
            owner="",
            encoding="",
            locale_provider="libc",
            collate="",
            ctype="",
            locale=None,
            icu_rules=None,
            collation_version=None,
            connection_limit=-1,
            comment=None,
            grants=(),
            settings=(),
        )
        return self.model_copy(
            update={
                **dict.fromkeys(("roles", "extensions", "collations", "tables", "sequences"), ()),
                "migration_checksums": {},
                "properties": blank,
                "large_objects": nothing,
                "bootstrap_superuser": "",
                "catalog_sha256": "",
            }
        )

    def to_bytes(self) -> bytes:
        """Return the manifest as it lies in the store."""
        blank = self.model_copy(update={"own_sha256": ""}).model_dump_json(indent=1).encode()
        own = hashlib.sha256(blank).hexdigest().encode()
        return blank.replace(b'"own_sha256": ""', b'"own_sha256": "%b"' % own)


def parse_manifest(data: bytes, *, label: str) -> Manifest:
    """Return the manifest in `data`.

    Raises:
        BackupDamagedError: if it is no manifest of ours, or another backup's.
    """
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise BackupDamagedError(
            f'backup "{label}" has no readable manifest',
            detail=redact(f"{MANIFEST}: {where}: {first['msg']}.")
            + (
                " If a newer casedb wrote it, install that one here as well."
                if first["type"] == "extra_forbidden"
                else ""
            ),
            hint="Restore another backup, and keep this one for the inquiry.",
        ) from None
    own = manifest.own_sha256.encode()
    blank = data.replace(b'"own_sha256": "%b"' % own, b'"own_sha256": ""')
    if hashlib.sha256(blank).hexdigest().encode() != own:
        raise BackupDamagedError(
            f'backup "{label}" has a changed manifest',
            detail=f"{MANIFEST} does not match the checksum it carries.",
            hint="Restore another backup, and keep this one for the inquiry.",
        )
    if manifest.label != label:
        raise BackupDamagedError(
            f'backup "{label}" has the manifest of another backup',
            detail=f'Its manifest says it is "{manifest.label}".',
            hint="Give the folder its own name back.",
        )
    return manifest
