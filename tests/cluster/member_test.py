"""Nodes that join and leave a running cluster."""
import shutil

from lab import Node, Relay, equal, run, until


def newcomer(lab, cluster, number):
    """A node that waits to be added."""
    model = next(iter(cluster))
    node = Node(lab, number, model.folder)
    settings = dict(model.settings, id=number, data=node.data, join=1)
    for name, address in (('peers', node.peer), ('clients', node.client),
                          ('http', node.http)):
        kept = [part for part in settings[name].split(',')
                if not part.startswith('%d=' % number)]
        settings[name] = ','.join(kept + ['%d=%s' % (number, address)])
    node.settings = settings
    cluster.nodes[number] = node
    return node


def add(lab, cluster, node, asked):
    return lab.baton(cluster, 'member', 'add', node.id, '--peer', node.peer,
                     '--client', node.client, '--http', node.http,
                     nodes=asked)


def a_fourth_joins(lab):
    cluster = lab.cluster(checkpoint_entries=64, log_keep_entries=16)
    three = list(cluster)
    relay = Relay(cluster)
    opened = {relay.open('acme/g%d/d' % at, 'tab').id for at in range(100)}
    node = newcomer(lab, cluster, 4).start()
    add(lab, cluster, node, three)
    until('it has caught up', lambda: node.status().self.applied
          >= three[0].status().self.applied > 100)
    equal('role', node.status().self.role, 'learner')
    lab.baton(cluster, 'member', 'promote', 4, nodes=three)
    until('it votes', lambda: node.status().self.role == 'follower')
    lab.baton(cluster, 'member', 'remove', 1, nodes=three[1:])
    until('the rest agree', lambda: cluster.find_leader(
        three[1:] + [node]))
    three[0].kill()
    equal('leader', lab.baton(cluster, 'transfer', 4,
                              nodes=three[1:])['leader'], '4')
    found = {int(one['session'])
             for one in lab.sessions(cluster, 'acme', nodes=[node])}
    equal('sessions', found, opened)
    # It is a member like the others: one of three may be away.
    three[1].kill()
    cluster.leader([three[2], node])
    listed = lab.sessions(cluster, 'acme', nodes=[three[2], node])
    equal('sessions', len(listed), 100)


def wiped_one_is_added_anew(lab):
    """What the alarm asks for: removed, and added again with an empty directory."""
    lab.alarms_expected = ('another data directory',)
    cluster = lab.cluster()
    relay = Relay(cluster)
    for at in range(20):
        relay.open('acme/g%d/d' % at, 'tab')
    lost = cluster.followers()[0]
    others = [node for node in cluster if node is not lost]
    lost.kill()
    shutil.rmtree(lost.data)
    lost.start()
    for one in others:
        until('an alarm on node %d' % one.id,
              lambda one=one: one.status().alarms)
    lost.kill()
    lab.baton(cluster, 'member', 'remove', lost.id, nodes=others)
    del cluster.nodes[lost.id]
    # Under its old number: who was removed is forgotten.
    node = newcomer(lab, cluster, lost.id).start()
    add(lab, cluster, node, others)
    until('it has caught up', lambda: node.status().self.applied
          >= others[0].status().self.applied > 20)
    lab.baton(cluster, 'member', 'promote', node.id, nodes=others)
    until('three agree', lambda: cluster.find_leader(others + [node]))
    for one in others:
        until('the alarm is over on node %d' % one.id,
              lambda one=one: not one.status().alarms)
    cluster.level(others + [node])
    others[0].kill()
    equal('sessions', len(lab.sessions(cluster, 'acme',
                                       nodes=[others[1], node])), 20)


def a_learner_that_lags_stays_one(lab):
    """Made a voter before it has the log, it would leave the cluster one failure from a standstill."""
    cluster = lab.cluster()
    three = list(cluster)
    relay = Relay(cluster)
    node = newcomer(lab, cluster, 4)
    add(lab, cluster, node, three)
    for at in range(1100):
        relay.open('acme/g%d/d' % at, 'tab')
    refused = lab.baton(cluster, 'member', 'promote', 4, nodes=three, code=4)
    assert 'caught up' in refused['message'], refused
    node.start()
    until('it has caught up', lambda: node.status().self.applied
          >= three[0].status().self.applied > 1100)
    lab.baton(cluster, 'member', 'promote', 4, nodes=three)


def members_survive_a_restart(lab):
    """The log that's kept from before the checkpoint may begin before the configuration that's known."""
    cluster = lab.cluster(checkpoint_entries=64, log_keep_entries=1000)
    three = list(cluster)
    relay = Relay(cluster)
    for at in range(80):
        relay.open('acme/g%d/d' % at, 'tab')
    node = newcomer(lab, cluster, 4).start()
    add(lab, cluster, node, three)
    for at in range(80, 160):
        relay.open('acme/g%d/d' % at, 'tab')
    for one in three + [node]:
        one.kill()
    for one in three + [node]:
        one.start()
    cluster.leader()
    cluster.level()
    equal('sessions', len(lab.sessions(cluster, 'acme')), 160)
    equal('role', node.status().self.role, 'learner')


if __name__ == '__main__':
    run([a_fourth_joins, wiped_one_is_added_anew,
     a_learner_that_lags_stays_one, members_survive_a_restart])
