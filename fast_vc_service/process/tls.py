"""A self-signed certificate, for encryption among machines that trust each other already."""

from __future__ import annotations

import ipaddress
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

VALID_DAYS = 365
RENEW_DAYS = 30


def self_signed(folder: Path, host: str, port: int) -> tuple[Path, Path]:
    """Return (certificate, key) files for a service that listens on ``host``:``port``.

    They lie in ``folder``, are made when missing, and stay the same over restarts, so that
    clients may pin the certificate; a month before its end, or for another host, a new one is
    made. The key is readable by its owner alone.
    """
    stem = f"fast_vc_service_port_{port}_tls"
    certificate, key = folder / f"{stem}_cert.pem", folder / f"{stem}_key.pem"
    names = _names(host)
    if not (key.is_file() and _covers(certificate, names)):
        folder.mkdir(parents=True, exist_ok=True)
        _make(certificate, key, names)
    return certificate, key


def _names(host: str) -> list[x509.GeneralName]:
    texts = dict.fromkeys(("localhost", "127.0.0.1", "::1", socket.gethostname(), host))
    return [_general_name(text) for text in texts if text not in {"", "0.0.0.0", "::"}]  # noqa: S104


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _covers(path: Path, names: list[x509.GeneralName]) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    renewal = datetime.now(UTC) + timedelta(days=RENEW_DAYS)
    return certificate.not_valid_after_utc > renewal and set(names) <= set(extension.value)


def _make(certificate: Path, key: Path, names: list[x509.GeneralName]) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fast-vc-service")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    key.unlink(missing_ok=True)
    with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
