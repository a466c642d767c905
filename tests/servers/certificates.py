"""Make certificates for tests: an authority, and what it signs for servers and for clients."""

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID_FOR = datetime.timedelta(days=2)


@dataclass(frozen=True)
class Authority:
    """A certificate authority, whose certificate is in `certificate`."""

    certificate: Path
    key: ec.EllipticCurvePrivateKey
    name: x509.Name

    def sign_server(self, stem: Path, names: Sequence[str]) -> None:
        """Write STEM.crt and STEM.key of a server with these names or addresses."""
        alternatives = x509.SubjectAlternativeName([_name_server(name) for name in names])
        self._sign(stem, _name(names[0]), ExtendedKeyUsageOID.SERVER_AUTH, alternatives)

    def sign_client(self, stem: Path, user: str, group: str) -> None:
        """Write STEM.crt and STEM.key of a user of a group."""
        self._sign(stem, _name(user, group), ExtendedKeyUsageOID.CLIENT_AUTH, None)

    def _sign(
        self, stem: Path, subject: x509.Name, usage: x509.ObjectIdentifier, names: x509.SubjectAlternativeName | None
    ) -> None:
        key = write_key(stem.with_suffix(".key"))
        builder = _begin(subject, self.name, key)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        stem.with_suffix(".crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def make_authority(stem: Path) -> Authority:
    """Make an authority; write its certificate to STEM.crt and its key to STEM.key."""
    key, name = write_key(stem.with_suffix(".key")), _name("authority of tests")
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = _begin(name, name, key)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(usage, critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    stem.with_suffix(".crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(stem.with_suffix(".crt"), key, name)


def write_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Make a private key and write it to a file."""
    key = ec.generate_private_key(ec.SECP256R1())
    formats = serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, *formats))
    path.chmod(0o600)
    return key


def write_public_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write the public half of a key to a file."""
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, kind))


def _begin(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + _VALID_FOR)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _name(common: str, organisation: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organisation is not None:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(attributes)


def _name_server(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
