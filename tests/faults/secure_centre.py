"""Apache Kafka as a centre that wants TLS with client certificates, and SASL."""

import pathlib
import subprocess

from confluent_kafka.admin import (AdminClient, ScramCredentialInfo, ScramMechanism,
                                   UserScramCredentialUpsertion)

from broker import free_port
from mirror import KafkaCentre

PASSWORD = "a=secret, with commas"
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def openssl(directory, *arguments):
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def make_authority(directory, name):
    """A certificate authority: NAME.pem and NAME.key."""
    openssl(directory, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", "-subj",
            f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE")


def make_certificate(directory, authority, name, alternatives):
    """A certificate of the authority: NAME.pem and NAME.key."""
    openssl(directory, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
    extensions = pathlib.Path(directory) / f"{name}.ext"
    extensions.write_text(f"subjectAltName={alternatives}\n")
    openssl(directory, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey",
            f"{authority}.key", "-CAcreateserial", "-days", "2", "-out", f"{name}.pem",
            "-extfile", extensions.name)
    (pathlib.Path(directory) / f"{name}.key").chmod(0o600)


class SecureCentre(KafkaCentre):
    """The plain listener is for the judge; mirrors use `secure_bootstrap`."""

    def __init__(self, directory):
        super().__init__(directory)
        self.secure_port, self.controller_port = free_port(), free_port()
        self.files = pathlib.Path(directory) / "certificates"
        self.files.mkdir()
        make_authority(self.files, "authority")
        make_authority(self.files, "other")
        make_certificate(self.files, "authority", "centre", "IP:127.0.0.1,DNS:localhost")
        make_certificate(self.files, "authority", "gateway", "DNS:gateway")
        store = (self.files / "centre.key").read_text() + (self.files / "centre.pem").read_text()
        (self.files / "centre.store").write_text(store)
        self.password_file = self.files / "password"
        self.password_file.write_text(PASSWORD + "\n")
        self.password_file.chmod(0o600)

    @property
    def secure_bootstrap(self):
        return f"127.0.0.1:{self.secure_port}"

    def start(self, *settings):
        login = "org.apache.kafka.common.security"
        name = "listener.name.sasl_ssl"
        secure = f"SASL_SSL://127.0.0.1:{self.secure_port}"
        plain = f"PLAINTEXT://127.0.0.1:{self.port}"
        super().start(
            f"listeners={plain},{secure},CONTROLLER://127.0.0.1:{self.controller_port}",
            f"advertised.listeners={plain},{secure}",
            "listener.security.protocol.map="
            "PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
            f"controller.quorum.voters=1@127.0.0.1:{self.controller_port}",
            "sasl.enabled.mechanisms=" + ",".join(MECHANISMS),
            f'{name}.plain.sasl.jaas.config={login}.plain.PlainLoginModule required '
            f'user_gateway="{PASSWORD}";',
            f"{name}.scram-sha-256.sasl.jaas.config={login}.scram.ScramLoginModule required;",
            f"{name}.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;",
            "connections.max.reauth.ms=3000",
            "ssl.keystore.type=PEM", f"ssl.keystore.location={self.files}/centre.store",
            "ssl.truststore.type=PEM", f"ssl.truststore.location={self.files}/authority.pem",
            # The general key counts for SSL listeners only.
            f"{name}.ssl.client.auth=required", *settings)
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            change = UserScramCredentialUpsertion(
                "gateway", ScramCredentialInfo(mechanism, 4096), PASSWORD.encode())
            for done in admin.alter_user_scram_credentials([change]).values():
                done.result(30)

    def keys(self, mechanism, **others):
        """The keys of a mirror that may come in."""
        keys = {"security.protocol": "SASL_SSL", "sasl.mechanism": mechanism,
                "sasl.username": "gateway", "sasl.password.file": str(self.password_file),
                "ssl.ca.location": str(self.files / "authority.pem"),
                "ssl.certificate.location": str(self.files / "gateway.pem"),
                "ssl.key.location": str(self.files / "gateway.key"), **others}
        return {key: value for key, value in keys.items() if value is not None}
