"""A self-signed certificate, created for each test."""

import hashlib
import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def for_loopback(directory: Path, *names: str) -> Path:
    """Write a PEM file with a self-signed certificate for 127.0.0.1 and these names, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    address = x509.SubjectAlternativeName(
        [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), *(x509.DNSName(each) for each in names)]
    )
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = directory / "certificate.pem"
    file.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return file


def subject_hash(certificate: Path) -> str:
    """The name by which OpenSSL finds a certificate in a directory, without its number."""
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    # Its canonical encoding: the text in lower case, as a UTF8String, without the outer SEQUENCE.
    text = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    assert isinstance(text, str)
    value = b"\x0c" + bytes([len(text)]) + text.lower().encode()
    pair = b"\x06\x03\x55\x04\x03" + value
    inner = b"\x30" + bytes([len(pair)]) + pair
    digest = hashlib.sha1(b"\x31" + bytes([len(inner)]) + inner).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"
