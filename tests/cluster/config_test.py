"""Settings: where they come from, which one wins, and what a wrong one is told. Each wrong one: exit code 2, and a sentence."""
import os
import signal
import socket
import subprocess

import wire
from lab import BIN, Node, Relay, clean_environment, equal, path_of, run, until

BATOND = os.path.join(BIN, 'batond')


def settings_of(lab):
    """What a node of a cluster of one needs."""
    node = Node(lab, 1, lab.folder)
    return node, {'id': 1, 'data': node.data, 'cluster': 'lab',
                  'peers': '1=' + node.peer, 'clients': '1=' + node.client,
                  'election-ms': 300, 'heartbeat-ms': 50, 'map-mb': 64,
                  'reserve-mb': 1}


def flags(settings):
    return [word for key, value in settings.items()
            for word in ('--' + key, str(value))]


def ended(arguments, env=None):
    """(exit code, what it said)."""
    made = subprocess.run(
        [BATOND] + arguments, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=clean_environment(env), timeout=20, check=False)
    return made.returncode, made.stdout


def refused(arguments, *words, env=None, code=2):
    found, said = ended(arguments, env)
    equal('exit code of %r (%s)' % (arguments, said), found, code)
    for word in words:
        assert word in said, '%r: no "%s" in: %s' % (arguments, word, said)
    return said


def unknown_ones(lab):
    _, settings = settings_of(lab)
    given = flags(settings)
    refused(given + ['--frobnicate', '1'], 'frobnicate', '--help')
    refused(given, 'BATON_FROBNICATE', env={'BATON_FROBNICATE': '1'})
    refused(given + ['extra'], 'extra')
    refused(given + ['--id'], '--id', 'value')
    assert not os.path.exists(settings['data']), 'it made a directory'


def out_of_range(lab):
    _, settings = settings_of(lab)
    for name, value, words in (
            ('id', '0', ('id', '1', '1000000')),
            ('election-ms', '99', ('election-ms', '100', '60000')),
            ('election-ms', 'soon', ('election-ms', 'soon', '60000')),
            ('election-ms', '1e3', ('election-ms', '1e3')),
            ('heartbeat-ms', '9', ('heartbeat-ms', '10')),
            ('heartbeat-ms', '101', ('heartbeat-ms', 'third')),
            ('checkpoint-entries', '-1', ('checkpoint-entries', '16')),
            ('log-level', 'loud', ('log-level', 'error, warn, info')),
            ('peers', '1=localhost', ('peers', 'ID=HOST:PORT')),
            ('peers', '2=127.0.0.1:1', ('peers', 'this node, 1')),
            ('peers', 'x=127.0.0.1:1', ('peers', 'ID=HOST:PORT')),
            ('peers', '1=127.0.0.1:99999', ('peers', 'ID=HOST:PORT')),
            ('clients', '2=127.0.0.1:1', ('clients', 'peers')),
            ('http', '7=127.0.0.1:1', ('http', 'peers')),
            ('tls-ca', '/nowhere.pem', ('tls-ca', 'tls-cert-key')),
            ('cluster', 'x' * 5000, ('cluster', 'at most'))):
        refused(flags(dict(settings, **{name: value})), *words)
    for name in ('id', 'data', 'cluster', 'peers', 'clients'):
        less = {key: value for key, value in settings.items() if key != name}
        refused(flags(less), name)


def in_a_file(lab):
    _, settings = settings_of(lab)
    path = os.path.join(lab.folder, 'batond.conf')

    def write(*lines):
        with open(path, 'w', encoding='utf-8') as file:
            file.write('\n'.join(lines) + '\n')

    good = ['%s = %s' % item for item in settings.items()]
    for lines, words in (
            (['# a comment', 'frobnicate = 1'], (':2', 'frobnicate')),
            (['', '', 'election-ms = soon'], (':3', 'election-ms', 'soon',
                                              '60000')),
            (['election-ms'], (':1', 'name = value')),
            (['[section]', 'election-ms = 300'], (':1: ', '[section]')),
            (['# x', '[x]'], (':2: ', '[x]')),
            (['election-ms = 500 # half'], (
                ':1: a comment needs a line of its own', 'election-ms')),
            (['election-ms = 500#half'], (
                ':1: election-ms', '60000', 'a comment needs a line')),
            (['admin = /tmp/x # there'], (
                ':1: a comment needs a line of its own', 'admin')),
            (['election-ms = 5\x1b[2J'], ('got "5\\x1b[2J"',))):
        write(*lines + good)
        refused(['--config', path], path, *words)
    write(*good + ['heartbeat-ms = 7'])
    refused(['--config', path], '%s:%d' % (path, len(good) + 1), '10')
    refused(['--config', path + '.missing'], path + '.missing')


def of_another_cluster(lab):
    """Clusters are told apart by numbers made from their names: the sentence has the name, too."""
    _, settings = settings_of(lab)
    process = lab.spawn('batond', [BATOND] + flags(settings),
                        os.path.join(lab.folder, 'first.log'))
    until('it starts', lambda: ' started ' in process.said())
    process.signal(signal.SIGTERM)
    equal('exit code', process.ended(), 0)
    said = refused(flags(dict(settings, cluster='shop')),
                   'belongs to another cluster than "shop"', settings['data'],
                   'made from', code=1)
    assert 'start_failed' in said, said


def flags_win(lab):
    node, settings = settings_of(lab)
    path = os.path.join(lab.folder, 'batond.conf')
    for sources, cluster in ((('file',), 'of-file'),
                             (('file', 'environment'), 'of-environment'),
                             (('file', 'environment', 'flag'), 'of-flag')):
        # Each time a directory of its own, for each has another cluster's name.
        given = dict(settings, data=os.path.join(lab.folder, cluster))
        del given['cluster']
        with open(path, 'w', encoding='utf-8') as file:
            file.writelines('%s = %s\n' % item for item in
                            dict(given, cluster='of-file').items())
        env = {'BATON_CONFIG': path}
        command = [BATOND]
        if 'environment' in sources:
            env['BATON_CLUSTER'] = 'of-environment'
            env['BATON_LOG_LEVEL'] = 'debug'
        if 'flag' in sources:
            command += ['--cluster=of-flag']
        log = os.path.join(lab.folder, cluster + '.log')
        process = lab.spawn(cluster, command, log, env)
        until('it starts', lambda one=process: ' started ' in one.said())
        assert ' cluster=%s ' % cluster in process.said(), process.said()
        process.signal(signal.SIGTERM)
        equal('exit code', process.ended(), 0)
    assert node.client in settings['clients']


def help_names_them_all(lab):
    code, said = ended(['--help'])
    equal('exit code', code, 0)
    code, table = ended(['--settings'])
    equal('exit code', code, 0)
    names = [line.split('`')[1] for line in table.splitlines()
             if line.startswith('| `')]
    assert len(names) > 20, names
    for name in names:
        assert '--%s ' % name in said, '--help is silent about ' + name
    with open(os.path.join(wire.ROOT, 'docs', 'operations.md'),
              encoding='utf-8') as file:
        manual = file.read()
    for name in names:
        assert '`%s`' % name in manual, \
            'docs/operations.md is silent about ' + name
    code, said = ended(['--version'])
    equal('exit code', code, 0)
    assert said.startswith('batond '), said
    assert lab.folder


def cannot_start(lab):
    """Settings that are well-formed, and don't fit this machine."""
    node, settings = settings_of(lab)
    config = os.path.join(lab.folder, 'batond.conf')
    with socket.socket() as taken:
        host, port = node.client.split(':')
        taken.bind((host, int(port)))
        taken.listen()
        refused(flags(settings), 'command line: clients: ', node.client,
                code=1)
        with open(config, 'w', encoding='utf-8') as file:
            file.write('# where\nlisten-http = %s\n' % node.client)
        refused(flags(dict(settings, clients='1=127.0.0.1:1'))
                + ['--listen-client', node.peer.split(':')[0] + ':0',
                   '--config', config],
                config + ':2: listen-http: ', node.client, code=1)
    refused(flags(dict(settings, **{'listen-peer': '192.0.2.1:7'})),
            'command line: listen-peer: ', '192.0.2.1:7', code=1)
    path = os.path.join(lab.folder, 'a-file')
    with open(path, 'w', encoding='utf-8') as file:
        file.write('short')
    refused(flags(dict(settings, admin=path)), 'command line: admin: ', path,
            code=1)
    refused(flags(dict(settings, data=path)), path, code=1)
    refused(flags(dict(settings, data='/proc/nothing')), '/proc/nothing',
            code=1)


def files_that_cannot_be_used(lab):
    """A wrong setting like any other: exit code 2, where it stands, and nothing was begun."""
    node, settings = settings_of(lab)
    config = os.path.join(lab.folder, 'batond.conf')
    short = os.path.join(lab.folder, 'short')
    with open(short, 'w', encoding='utf-8') as file:
        file.write('short')
    missing = short + '.missing'
    for lines, place, words in (
            (('secret-file = ' + short,), ':1: secret-file: ',
             (short, '16 to 255 bytes', 'got 5')),
            (('', 'secret-file = ' + missing), ':2: secret-file: ',
             (missing, 'No such file')),
            (('secret-file = ' + lab.folder,), ':1: secret-file: ',
             (lab.folder, 'directory')),
            (('tls-cert-key = ' + short, 'tls-ca = ' + missing),
             ':2: tls-ca: ', (missing, 'No such file')),
            (('tls-cert-key = ' + short, 'tls-ca = ' + short),
             ':2: tls-ca: ', (short, 'PEM')),
            (('peers = 1=%s,2=%s' % (node.peer, node.peer),), ':1: peers: ',
             ('nodes 1 and 2', node.peer)),
            (('# no port', 'listen-client = localhost'),
             ':2: listen-client: ', ('HOST:PORT', 'localhost'))):
        given = {key: value for key, value in settings.items()
                 if not lines[0].startswith(key + ' ')}
        with open(config, 'w', encoding='utf-8') as file:
            file.write('\n'.join(lines) + '\n')
        refused(flags(given) + ['--config', config], config + place, *words)
    assert not os.path.exists(settings['data']), 'it made a directory'


def log_lines(lab):
    """One event a line: `time level node=N event key=value ...`; no payloads."""
    cluster = lab.cluster()
    session = lab.session(cluster, 'acme/a-secret-name', 'laptop', 'tab-1')
    assert session.id
    for node in cluster:
        for line in node.said().splitlines():
            words = line.split(' ')
            assert words[0].endswith('Z') and words[1] in (
                'error', 'warn', 'info', 'debug'), line
            equal('node', words[2], 'node=%d' % node.id)
            assert '=' not in words[3], line
            assert 'a-secret-name' not in line, line
    node = cluster.leader()
    reply = wire.ask_admin(node.admin, set_log_level={'level': 3})
    equal('status', reply.status, 'OK')
    reply = wire.ask_admin(node.admin, set_log_level={'level': 9})
    assert reply.status != 'OK', reply
    equal('mode of the admin socket',
          oct(os.stat(node.admin).st_mode & 0o777), '0o600')
    equal('mode of the directory', oct(os.stat(node.data).st_mode & 0o777),
          '0o700')


def settings_differ(lab):
    """One node has another election timeout than the rest: all say so, until it's set right, and no leader relies on its lease."""
    lab.alarms_expected = ('settings differ',)
    cluster = lab.cluster(lease_reads=1)
    relay = Relay(cluster)
    relay.open('acme/alice/laptop', 'tab')

    def served():
        """How a read is, that may be on the leader's lease."""
        return relay.ask(get_leader={
            'scope': path_of('acme/alice'),
            'consistency': 'LEASE'}).leader_result.consistency

    until('a read on the lease', lambda: served() == 'LEASE')
    node = cluster.followers()[0]
    node.kill()
    node.start(election_ms=777)
    for one in cluster:
        until('an alarm on node %d' % one.id, lambda one=one: any(
            'settings differ' in text and 'election-ms=777' in text
            for text in one.status().alarms))
    equal('with settings that differ', served(), 'LINEARIZABLE')
    node.kill()
    node.start()
    cluster.leader()
    for one in cluster:
        until('no alarm on node %d' % one.id,
              lambda one=one: not one.status().alarms)
    until('a read on the lease again', lambda: served() == 'LEASE')


if __name__ == '__main__':
    run([settings_differ, unknown_ones, out_of_range, in_a_file,
         of_another_cluster, flags_win,
         help_names_them_all, cannot_start, files_that_cannot_be_used,
         log_lines])
