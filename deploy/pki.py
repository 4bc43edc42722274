"""The certificate authority of a site and the certificates it gives. Files here, none on a host."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_AUTHORITY_LIFE = timedelta(days=3650)
_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)
CERTIFICATE_LIFE = timedelta(days=397)
"""What browsers and auditors take for the longest sensible life of a server's certificate."""


@dataclass(frozen=True)
class Authority:
    """A certificate authority: its certificate for everybody, its key for nobody."""

    certificate_pem: str
    key_file: Path

    def issue(self, names: tuple[str, ...], *, now: datetime) -> tuple[str, str]:
        """Return a new certificate for `names` and its key, both as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        ours = x509.load_pem_x509_certificate(self.certificate_pem.encode())
        signer = serialization.load_pem_private_key(self.key_file.read_bytes(), None)
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        made = (
            x509.CertificateBuilder()
            .subject_name(_name(names[0]))
            .issuer_name(ours.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            # A host's clock may be a little behind ours.
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + CERTIFICATE_LIFE)
            .add_extension(x509.SubjectAlternativeName([_alternative(n) for n in names]), False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
            .add_extension(x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), False)
            # Strict clients ask for it: Python's own since 3.13.
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(_public_key(ours)), False
            )
            .sign(signer, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM).decode(), _pem(key)


def authority(folder: Path, *, now: datetime) -> Authority:
    """Return the authority kept in `folder`, made if there is none. Its key has mode 0600."""
    certificate, key_file = folder / "ca.crt", folder / "ca.key"
    if not certificate.exists():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = ec.generate_private_key(ec.SECP256R1())
        made = (
            x509.CertificateBuilder()
            .subject_name(_name("casedb"))
            .issuer_name(_name("casedb"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + _AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(_SIGNS_CERTIFICATES, True)
            .sign(key, hashes.SHA256())
        )
        descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(_pem(key))
        # Written last: a folder with a certificate has its key.
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return Authority(certificate.read_text("ascii"), key_file)


def certificate_problem(
    certificate_pem: str | None,
    authority_pem: str,
    names: tuple[str, ...],
    *,
    now: datetime,
    renew_before: timedelta,
) -> str:
    """Return why a host needs another certificate, or nothing."""
    if not certificate_pem:
        return "there is none"
    try:
        found = x509.load_pem_x509_certificate(certificate_pem.encode())
        found.verify_directly_issued_by(x509.load_pem_x509_certificate(authority_pem.encode()))
        alternatives = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception as error:
        # cryptography has a different error for each way of being wrong.
        return f"it is not one of our authority ({type(error).__name__})"
    if {_alternative(name) for name in names} != set(alternatives):
        return "its names differ"
    if found.not_valid_after_utc - now < renew_before:
        return f"it ends on {found.not_valid_after_utc:%Y-%m-%d}"
    return ""


def utc_now() -> datetime:
    """Return the time; apart, so that a test can stop the clock."""
    return datetime.now(UTC)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _public_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
