"""Certificates, made with openssl, and TLS on a test's own socket, so that every octet is the test's choice."""

import copy
import pathlib
import socket
import ssl
import subprocess

KINDS = {"ec": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "rsa": ["rsa:2048"]}


def openssl(*words):
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()


class Authority:
    """Issues certificates for localhost into its folder: NAME.crt and NAME.key."""

    def __init__(self, folder, name="ca"):
        self.folder, self.name = pathlib.Path(folder), name
        self.cert, self.key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        openssl("req", "-x509", "-newkey", *KINDS["ec"], "-nodes", "-keyout", self.key, "-out", self.cert,
                "-subj", f"/CN={name}", "-days", "30")

    def issue(self, name, kind="ec", days=30, alternatives="DNS:localhost,IP:127.0.0.1,IP:::1", more=""):
        cert, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        request, extensions = self.folder / f"{name}.csr", self.folder / "extensions"
        extensions.write_text(f"subjectAltName={alternatives}\n{more}")
        openssl("req", "-newkey", *KINDS[kind], "-nodes", "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self.key, "-CAcreateserial",
                "-days", str(days), "-extfile", extensions, "-out", cert)
        return cert, key

    def intermediate(self, name):
        """An authority by this one's leave."""
        made = copy.copy(self)
        made.name = name
        made.cert, made.key = self.issue(name, more="basicConstraints=critical,CA:TRUE\n")
        return made

    def trust(self, cert=None):
        """What a client takes along: this authority, and its own certificate if it has one."""
        context = ssl.create_default_context(cafile=self.cert)
        if cert:
            context.load_cert_chain(*cert)
        return context

    def server(self, name="server", alternatives="DNS:localhost,IP:127.0.0.1,IP:::1", **more):
        """A `tls` section with a certificate of its own."""
        cert, key = self.issue(name, alternatives=alternatives)
        return {"cert": str(cert), "key": str(key), **more}


class Ragged(ConnectionResetError):
    """The stream ended without TLS' own end."""


class Tls:
    """TLS over a connected socket. `step`: octets of each segment; 0: as they come."""

    def __init__(self, sock, context, step=0, session=None):
        self.sock, self.step = sock, step
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost", session=session)
        self.run(self.tls.do_handshake)

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def flush(self):
        data = self.outgoing.read()
        for at in range(0, len(data), self.step or len(data) or 1):
            self.sock.sendall(data[at:at + (self.step or len(data))])

    def run(self, call, *args):
        while True:
            try:
                return call(*args)
            except ssl.SSLWantReadError:
                self.flush()
                self.fill()
            finally:
                self.flush()

    def fill(self):
        data = self.sock.recv(262144)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def sendall(self, data):
        self.run(self.tls.write, data)

    def recv(self, size):
        try:
            return self.run(self.tls.read, size)
        except ssl.SSLZeroReturnError:
            return b""
        except ssl.SSLEOFError:
            raise Ragged() from None

    def records(self, data):
        """What `data` becomes, not sent."""
        self.tls.write(data)
        return self.outgoing.read()

    def close_notify(self):
        """The end of our side; what comes may still be read."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self.flush()

    def shutdown(self, how=socket.SHUT_WR):
        self.close_notify()
        self.sock.shutdown(how)


def over(context, **options):
    """For wsclient.Client's `tls`."""
    return lambda sock: Tls(sock, context, **options)
