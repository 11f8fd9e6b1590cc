"""Clients that open sessions all the while, and remember which of them were acknowledged."""
import threading
import time

from lab import PATIENCE, Relay, equal, until


class Opener(threading.Thread):
    """One client: one session after the other, each sent again under its number until it's answered."""

    def __init__(self, cluster, number):
        super().__init__(daemon=True)
        self.cluster = cluster
        self.number = number
        self.acknowledged = []  # (when, session, tab)
        self.stopping = False
        self.error = None

    def run(self):
        try:
            relay = Relay(self.cluster)
            while not self.stopping:
                n = len(self.acknowledged)
                tab = 'tab-%d' % n
                # A device has 1,024 tabs at most.
                reply = relay.open('load/g%d/device-%d' % (
                    self.number, n // 500), tab)
                self.acknowledged.append((time.monotonic(), reply.id, tab))
            relay.close()
        except Exception as error:  # told by Load
            self.error = error


class Load:
    """Several of them."""

    def __init__(self, cluster, clients=8):
        self.cluster = cluster
        self.openers = [Opener(cluster, number) for number in range(clients)]
        for opener in self.openers:
            opener.start()

    def until(self, what, condition):
        def there():
            for opener in self.openers:
                assert opener.error is None, opener.error
            return condition()
        until(what, there)

    def each_opened(self, n):
        self.until('%d sessions each' % n, lambda: all(
            len(opener.acknowledged) > n for opener in self.openers))

    def each_opened_after(self, when):
        """When the first of all sessions behind `when` was acknowledged; waits until each client has one."""
        self.until('sessions are opened again', lambda: all(
            opener.acknowledged and opener.acknowledged[-1][0] > when
            for opener in self.openers))
        return min(at for opener in self.openers
                   for at, _, _ in opener.acknowledged if at > when)

    def finish(self):
        for opener in self.openers:
            opener.stopping = True
        for opener in self.openers:
            opener.join(PATIENCE)
            assert opener.error is None, opener.error
            assert not opener.is_alive(), 'a client did not end'

    def check(self, lab):
        """Every acknowledged session is there, and no other: each client waited for each answer, so one more would be a retry
        that was applied twice."""
        found = {(one['session'], one['group'], one['tab'])
                 for one in lab.sessions(self.cluster, 'load')}
        mine = {(str(session), 'load/g%d' % opener.number, tab)
                for opener in self.openers
                for _, session, tab in opener.acknowledged}
        equal('acknowledged, and lost', sorted(mine - found), [])
        equal('opened twice', sorted(found - mine), [])
