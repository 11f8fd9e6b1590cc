"""What nodes do with bytes that no client of ours would send: the one connection ends, the reason is logged, all others go on."""
import os
import socket
import struct
import time

import wire
from lab import Relay, equal, path_of, run, until


def refused_on(node, metric):
    return node.metrics()['baton_' + metric]


def hello(**fields):
    return wire.encode('ClientRequest', {
        'version': 1, 'id': 1, 'correlation_id': bytes(16),
        'hello': dict({'version': 1, 'nonce': os.urandom(16)}, **fields)})


def expect_closed(frames, patience=3.0):
    """The node hangs up, maybe after a last word."""
    deadline = time.monotonic() + patience
    try:
        while True:
            frames.receive(max(0.0, deadline - time.monotonic()))
    except wire.Closed:
        return


def one_node(lab, **settings):
    """A cluster of one with a client that must not notice anything."""
    cluster = lab.cluster(size=1, **settings)
    return cluster.nodes[1], Relay(cluster)


def still_there(relay):
    equal('the other connection', relay.renew().status, 'OK')


def undecodable_frame(lab):
    node, relay = one_node(lab)
    before = refused_on(node, 'frames_undecodable_total')
    # Not fields from end to end; a field of another wire type; text with a NUL; a group; nothing at all.
    bad = [b'\xff\xff\xff\xff', b'\x15\x00\x00\x00\x00',
           wire.encode('ClientRequest', {'id': 2, 'get_leader': {
               'scope': {'namespace': 'a\0b', 'group': 'g'}}}),
           b'\x0b\x0c', b'\xff' * 64]
    streams = [wire.Stream(node.client) for _ in bad + [b'']]
    for stream, body in zip(streams, bad + [b'']):
        stream.frames.send(body)
    for stream in streams:
        expect_closed(stream.frames)
    until('counted', lambda: refused_on(node, 'frames_undecodable_total')
          >= before + len(bad))
    assert 'undecodable' in node.said()
    still_there(relay)


def undecodable_hello(lab):
    node, relay = one_node(lab)
    for body in (b'\xff\xff\xff\xff', b'\xff' * 100):
        frames = wire.dial(node.client)
        frames.send(body)
        expect_closed(frames)
    frames = wire.dial(node.client)
    frames.send_raw(b'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    expect_closed(frames)
    still_there(relay)


def frame_too_long(lab):
    node, relay = one_node(lab)
    stream = wire.Stream(node.client)
    stream.frames.send_raw(struct.pack('>I', (1 << 20) + 1))
    expect_closed(stream.frames)
    frames = wire.dial(node.client)
    frames.send_raw(struct.pack('>I', 4097))
    expect_closed(frames)
    until('counted',
          lambda: refused_on(node, 'streams_refused_size_total') >= 2)
    # One of the longest is taken, decoded, and refused for what is in it.
    stream = wire.Stream(node.client)
    fields = {'path': path_of('a/b/c'), 'tab': 'x' * ((1 << 20) - 200),
              'secret': bytes(16)}
    answer = stream.call(command={'lease': relay.lease, 'sequence': 1,
                                  'open_session': fields})
    equal('status', answer.status, 'INVALID')
    still_there(relay)


def another_version(lab):
    node, relay = one_node(lab)
    frames = wire.dial(node.client)
    frames.send(hello(version=99))
    answer = wire.decode('ClientMessage', frames.receive(3.0))
    equal('status', answer.status, 'UNSUPPORTED')
    assert '99' in answer.message and 'version 1' in answer.message, answer
    expect_closed(frames)
    equal('counted', refused_on(node, 'streams_refused_version_total'), 1)
    stream = wire.Stream(node.client)
    stream.frames.send(wire.encode('ClientRequest', {
        'version': 99, 'id': 7, 'correlation_id': bytes(16),
        'get_status': {}}))
    equal('a request', stream.next(7).status, 'UNSUPPORTED')
    stream.frames.send(wire.encode('ClientRequest', {
        'version': 1, 'id': 8, 'get_status': {}}))
    equal('no correlation id', stream.next(8).status, 'INVALID')
    equal('the stream stays', stream.call(get_status={}).status, 'OK')
    still_there(relay)


def another_cluster(lab):
    node, relay = one_node(lab)
    right = wire.Stream(node.client).hello.cluster
    frames = wire.dial(node.client)
    frames.send(hello(cluster=right ^ 1))
    equal('status', wire.decode('ClientMessage', frames.receive(3.0)).status,
          'NOT_ALLOWED')
    expect_closed(frames)
    frames = wire.dial(node.client)
    frames.send(hello(cluster=right))
    equal('status', wire.decode('ClientMessage', frames.receive(3.0)).status,
          'OK')
    still_there(relay)


def request_before_hello(lab):
    node, relay = one_node(lab)
    frames = wire.dial(node.client)
    frames.send(wire.encode('ClientRequest', {
        'version': 1, 'id': 1, 'correlation_id': bytes(16),
        'get_status': {}}))
    answer = wire.decode('ClientMessage', frames.receive(3.0))
    equal('status', answer.status, 'UNSUPPORTED')
    assert answer.status_result is None
    expect_closed(frames)
    still_there(relay)


def never_says_hello(lab):
    node, relay = one_node(lab)
    silent = wire.dial(node.client)
    half = wire.dial(node.client)
    half.send_raw(struct.pack('>I', 20) + b'abc')
    peer = wire.dial(node.peer)
    started = time.monotonic()
    for frames in (silent, half, peer):
        expect_closed(frames, 7.0)
    took = time.monotonic() - started
    assert took > 3.0, 'closed after %.1f s, before the deadline' % took
    still_there(relay)


def stranger_on_the_peer_port(lab):
    """Who isn't a node of this cluster gets no further than the Hello."""
    cluster = lab.cluster()
    node = cluster.leader()
    relay = Relay(cluster)
    right = wire.Stream(node.client).hello.cluster
    open_ones = []
    for fields, why in (
            ({'cluster': right ^ 1, 'node': 2}, 'cluster'),
            ({'cluster': right, 'node': node.id}, 'node'),
            ({'cluster': right, 'node': 0}, 'node'),
            ({'cluster': right, 'node': 2, 'version': 9}, 'version')):
        frames = wire.dial(node.peer)
        open_ones.append(frames)
        frames.send(wire.encode('PeerFrame', {
            'version': 1, 'type': 0, 'hello': dict({
                'version': 1, 'incarnation': 5, 'boot': 1,
                'nonce': os.urandom(16)}, **fields)}))
        answer = wire.decode('PeerFrame', frames.receive(3.0))
        assert why in answer.quarantine_reason, '%r: %r' % (fields, answer)
    for body in (b'\xff' * 200, b'\xff' * 10):
        open_ones.append(wire.dial(node.peer))
        open_ones[-1].send(body)
    for frames in open_ones:
        expect_closed(frames)
    still_there(relay)
    assert cluster.leader() is node


def peers_prove_the_secret(lab):
    cluster = lab.cluster(start=False)
    for name, secret in (('right', 'a secret of the cluster'),
                         ('wrong', 'a secret of another one')):
        with open(os.path.join(lab.folder, name), 'w',
                  encoding='utf-8') as file:
            file.write(secret + '\n')
    right = os.path.join(lab.folder, 'right')
    for number in (1, 2):
        cluster.nodes[number].start(secret_file=right)
    cluster.leader()
    stranger = cluster.nodes[3]
    stranger.start(secret_file=os.path.join(lab.folder, 'wrong'))
    for number in (1, 2):
        until('node %d refuses it' % number, lambda node=cluster.nodes[number]:
              refused_on(node, 'streams_refused_proof_total') > 0)
    equal('it follows nobody', stranger.status().leader, 0)
    stranger.kill()
    stranger.start(secret_file=right)
    cluster.leader()
    cluster.level()


def too_many_connections(lab):
    node, relay = one_node(lab, connections_max=5)
    streams = [wire.Stream(node.client) for _ in range(4)]
    frames = wire.dial(node.client)
    answer = wire.decode('ClientMessage', frames.receive(3.0))
    equal('status', answer.status, 'LIMIT')
    assert '5' in answer.message, answer.message
    expect_closed(frames)
    still_there(relay)
    streams[0].close()

    def again():
        try:
            return wire.Stream(node.client)
        except (wire.Closed, AttributeError):
            return None
    until('room again', again)


def floods_of_connections(lab):
    """Many that come and go at once, some in the middle of a frame: none of it stays."""
    node, relay = one_node(lab)
    for _ in range(20):
        sockets = []
        for at in range(20):
            frames = wire.dial(node.client)
            if at % 3 == 0:
                frames.send(hello())
            if at % 3 == 1:
                frames.send_raw(b'\0\0')
            if at % 4 == 0:
                frames.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                       struct.pack('ii', 1, 0))
            sockets.append(frames)
        for frames in sockets:
            frames.close()
    until('only ours is left', lambda: node.status().connections <= 1)
    # A stream that's gone is closed by another thread, a moment later.
    until('their files are closed', lambda: len(
        os.listdir('/proc/%d/fd' % node.process.pid)) < 100)
    still_there(relay)


def command_blown_up_with_unknown_fields(lab):
    """What the edge could decode and apply couldn't would stop every node, for good: it's refused before it is in the log."""
    cluster = lab.cluster()
    leader = cluster.leader()
    relay = Relay(cluster)
    for fields in (50000, 100000, 200000, 400000):
        request = wire.encode('ClientRequest', dict(
            version=wire.VERSION, id=7, correlation_id=os.urandom(16),
            timeout_ms=2000, command=dict(open_lease=dict(
                nonce=os.urandom(16), ttl_ms=5000))))
        # Protobuf merges a field that is sent twice: the second has fields of number 9, which nobody knows.
        unknown = b'\x48\x00' * fields
        length, rest = b'', len(unknown)
        while rest > 0x7f:
            length += bytes([rest & 0x7f | 0x80])
            rest >>= 7
        request += b'\x52' + length + bytes([rest]) + unknown
        stream = wire.Stream(leader.client)
        stream.frames.send(request)
        stream.next(7)
        stream.close()
    still_there(relay)
    cluster.level()


if __name__ == '__main__':
    run([command_blown_up_with_unknown_fields, undecodable_frame, undecodable_hello, frame_too_long,
         another_version, another_cluster, request_before_hello,
         never_says_hello, stranger_on_the_peer_port, peers_prove_the_secret,
         too_many_connections, floods_of_connections])
