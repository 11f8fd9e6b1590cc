"""A network between nodes that a test can cut: every peer stream goes through a relay of bytes in this process.

Nodes are told each other's relayed addresses, and listen elsewhere. The Hello that a stream begins with says whose it is, so that
each direction of each pair is cut by itself: cut('1', '2') keeps what 1 says from 2. What is cut isn't closed, it goes silent, as
cables and firewalls do."""
import selectors
import socket
import struct
import threading

import wire


class Link:
    """One stream: bytes wait in it while its direction is cut."""

    def __init__(self, net, dialled, target):
        self.net = net
        self.target = target      # the node that was dialled
        self.source = None        # the node that dialled, once its Hello was seen
        self.near = dialled       # towards who dialled
        self.far = None           # towards the target
        self.waiting = {True: b'', False: b''}   # forwards, backwards
        self.closed = False

    def seen(self):
        """Reads who it is from the first frame."""
        data = self.waiting[True]
        if self.source is not None or len(data) < 4:
            return
        n = struct.unpack_from('>I', data)[0]
        if len(data) >= 4 + n:
            frame = wire.decode('PeerFrame', data[4:4 + n])
            self.source = frame.hello.node if frame.hello else 0

    def blocked(self, forwards):
        if self.source is None:
            return True
        pair = (self.source, self.target) if forwards else (self.target,
                                                            self.source)
        return pair in self.net.cuts

    def close(self):
        self.closed = True
        for sock in (self.near, self.far):
            if sock is not None:
                sock.close()


class Net:
    """Relays for all nodes of a cluster that isn't started yet."""

    def __init__(self, cluster):
        self.cuts = set()
        self.links = []
        self.targets = {}
        self.selector = selectors.DefaultSelector()
        self.stopping = False
        addresses = {}
        for node in cluster:
            listener = socket.create_server(('127.0.0.1', 0))
            listener.setblocking(False)
            self.selector.register(listener, selectors.EVENT_READ, node.id)
            self.targets[node.id] = node.peer
            addresses[node.id] = '127.0.0.1:%d' % listener.getsockname()[1]
        peers = ','.join('%d=%s' % item for item in addresses.items())
        for node in cluster:
            node.settings.update({'peers': peers, 'listen-peer': node.peer})
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        cluster.lab.undo.append(self.stop)

    def cut(self, source, target):
        self.cuts = self.cuts | {(source, target)}

    def isolate(self, node, others):
        """Both directions between it and each of the others."""
        for other in others:
            self.cut(node.id, other.id)
            self.cut(other.id, node.id)

    def heal(self):
        self.cuts = set()

    def stop(self):
        self.stopping = True
        self.thread.join(5)
        for link in self.links:
            link.close()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()

    # --- the thread ---

    def run(self):
        while not self.stopping:
            for key, _ in self.selector.select(0.005):
                if isinstance(key.data, int):
                    self.accept(key.fileobj, key.data)
                else:
                    self.read(key.fileobj, *key.data)
            for link in self.links:
                for forwards in (True, False):
                    self.pass_on(link, forwards)
            self.links = [link for link in self.links if not link.closed]

    def accept(self, listener, target):
        near, _ = listener.accept()
        link = Link(self, near, target)
        host, port = self.targets[target].split(':')
        try:
            link.far = socket.create_connection((host, int(port)), 1)
        except OSError:
            near.close()
            return
        for sock, forwards in ((near, True), (link.far, False)):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.selector.register(sock, selectors.EVENT_READ,
                                   (link, forwards))
        self.links.append(link)

    def read(self, sock, link, forwards):
        try:
            data = sock.recv(1 << 18)
        except OSError:
            data = b''
        if not data:
            self.drop(link)
            return
        link.waiting[forwards] += data
        link.seen()

    def pass_on(self, link, forwards):
        data = link.waiting[forwards]
        if link.closed or not data or link.blocked(forwards):
            return
        try:
            (link.far if forwards else link.near).sendall(data)
            link.waiting[forwards] = b''
        except OSError:
            self.drop(link)

    def drop(self, link):
        for sock in (link.near, link.far):
            if sock.fileno() >= 0:
                self.selector.unregister(sock)
        link.close()
