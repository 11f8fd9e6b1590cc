"""Mutual TLS: nodes among themselves, and clients; who shows no certificate of the cluster's authority gets nothing."""
import os
import shutil
import socket
import ssl
import subprocess

import wire
from lab import BIN, Node, Skip, clean_environment, equal, run


def openssl(*arguments):
    made = subprocess.run(['openssl'] + list(arguments), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)
    equal('openssl: ' + made.stdout, made.returncode, 0)


class Authority:
    """Makes certificates for 127.0.0.1, each with its key in one file."""

    def __init__(self, folder, name):
        self.folder = os.path.join(folder, name)
        os.mkdir(self.folder)
        self.certificate = os.path.join(self.folder, 'ca.pem')
        self.key = os.path.join(self.folder, 'ca.key')
        openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout',
                self.key, '-out', self.certificate, '-days', '2', '-subj',
                '/CN=' + name)

    def issue(self, name):
        base = os.path.join(self.folder, name)
        openssl('req', '-newkey', 'rsa:2048', '-nodes', '-keyout',
                base + '.key', '-out', base + '.csr', '-subj', '/CN=' + name)
        with open(base + '.ext', 'w', encoding='utf-8') as file:
            file.write('subjectAltName=IP:127.0.0.1,DNS:localhost\n')
        openssl('x509', '-req', '-in', base + '.csr', '-CA', self.certificate,
                '-CAkey', self.key, '-CAcreateserial', '-days', '2',
                '-extfile', base + '.ext', '-out', base + '.crt')
        with open(base + '.pem', 'w', encoding='utf-8') as both:
            for end in ('.crt', '.key'):
                with open(base + end, encoding='utf-8') as file:
                    both.write(file.read())
        return base + '.pem'


def hello_over(node, authority, certificate):
    """The node's Hello over TLS; None if it doesn't talk to such a client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.certificate)
    context.check_hostname = False
    if certificate is not None:
        context.load_cert_chain(certificate)
    host, port = node.client.split(':')
    try:
        with socket.create_connection((host, int(port)), 5) as plain, \
                context.wrap_socket(plain) as sock:
            frames = wire.Frames(sock)
            frames.send(wire.encode('ClientRequest', {
                'version': 1, 'id': 1, 'correlation_id': bytes(16),
                'hello': {'version': 1, 'nonce': os.urandom(16)}}))
            return wire.decode('ClientMessage', frames.receive(3.0)).hello
    except (ssl.SSLError, wire.Closed, ConnectionError):
        return None


def both_sides_prove_themselves(lab):
    if shutil.which('openssl') is None:
        raise Skip('openssl makes the certificates')
    ours = Authority(lab.folder, 'ours')
    strange = Authority(lab.folder, 'strange')
    cluster = lab.cluster(start=False, tls_ca=ours.certificate)
    for node in cluster:
        node.start(tls_cert_key=ours.issue('node%d' % node.id))
    leader = cluster.leader()
    client = ours.issue('client')
    for node in cluster:
        equal('hello', hello_over(node, ours, client).node, node.id)
    tls = ('--tls-ca', ours.certificate, '--tls-cert-key')
    status = lab.baton(cluster, *tls, client, 'status')
    equal('leader', status['leader'], str(leader.id))
    lab.baton(cluster, *tls, client, 'leader', 'acme/nobody', code=2)
    lab.baton(cluster, *tls, strange.issue('other'), 'leader', 'acme/nobody',
              code=3, timeout='1s')
    lab.baton(cluster, 'leader', 'acme/nobody', code=3, timeout='1s')
    equal('without a certificate', hello_over(leader, ours, None), None)
    equal('with another authority\'s',
          hello_over(leader, ours, strange.issue('client')), None)
    try:
        wire.Stream(leader.client, 2.0)
        raise AssertionError('it talks to who speaks no TLS')
    except (wire.Closed, wire.Late):
        pass
    away = cluster.followers()[0]
    away.kill()
    away.start(tls_cert_key=strange.issue('node'))
    rest = [node for node in cluster if node is not away]
    cluster.leader(rest)
    equal('a stranger among the nodes', away.status().leader, 0)
    equal('it was not let in', leader.metrics()['baton_peers_connected'], 1)


def wrong_files_are_named(lab):
    """A certificate without its key: refused before anything is begun."""
    if shutil.which('openssl') is None:
        raise Skip('openssl makes the certificates')
    ours = Authority(lab.folder, 'ours')
    node = Node(lab, 1, lab.folder)
    made = subprocess.run(
        [os.path.join(BIN, 'batond'), '--id', '1', '--data', node.data,
         '--cluster', 'lab', '--peers', '1=' + node.peer, '--clients',
         '1=' + node.client, '--tls-ca', ours.certificate, '--tls-cert-key',
         ours.certificate], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, env=clean_environment(None),
        timeout=20, check=False)
    equal('exit code (%s)' % made.stdout, made.returncode, 2)
    assert made.stdout.startswith('batond: command line: tls-cert-key: %s: '
                                  % ours.certificate), made.stdout
    assert not os.path.exists(node.data), 'it made a directory'


if __name__ == '__main__':
    run([both_sides_prove_themselves, wrong_files_are_named])
