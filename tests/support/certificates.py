"""Certificates made for one test: by an authority of its own, good ones and such as are wrong."""

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from bridge.clock import SECOND, Clock

LOOPBACK = x509.IPAddress(IPv4Address("127.0.0.1"))


class Authority:
    """Issues certificates; `file` holds its own, for those who trust it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, folder.name)])
        own = self._builder(self._name, self._key, timedelta(days=1))
        basics = x509.BasicConstraints(ca=True, path_length=None)
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
        own = own.add_extension(basics, critical=True).add_extension(usage, critical=True)
        self.file = folder / "authority.pem"
        self.file.write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def issue(
        self, name: x509.GeneralName = LOOPBACK, *, valid: timedelta = timedelta(days=1)
    ) -> dict[str, Path]:
        """Issue a certificate for a server, valid from two days ago until `valid` from now.

        Returns the files as uvicorn's options.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        builder = self._builder(subject, key, valid)
        names = x509.SubjectAlternativeName([name])
        signed = builder.add_extension(names, critical=False).sign(self._key, hashes.SHA256())
        number = f"{signed.serial_number:x}"
        certificate, private = self._folder / f"{number}.pem", self._folder / f"{number}.key"
        certificate.write_bytes(signed.public_bytes(Encoding.PEM))
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return {"ssl_certfile": certificate, "ssl_keyfile": private}

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, valid: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.fromtimestamp(Clock().now() / SECOND, UTC)
        return x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(days=2),
            not_valid_after=now + valid,
        )
