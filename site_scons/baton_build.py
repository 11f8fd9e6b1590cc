"""What the SConstruct and the SConscripts share: a folder's library and programs, the installed library and header, and
compile_commands.json. One build at a time in a tree."""
import fcntl
import json
import os
import re
import sys

from catalog import USES
from SCons.Script import Action, Alias, Depends, File, Glob

VERSION = '0.1.0'

# Warnings that our code heeds and protoc-c's doesn't.
STRICT = ('-Wextra', '-Wconversion', '-Wshadow', '-Wstrict-prototypes',
          '-Wmissing-prototypes')

# libbaton is these folders (users first), and shows these names only.
PUBLIC_FOLDERS = ('client', 'transport', 'proto')
PUBLIC_LIBS = ['nng', 'protobuf-c', 'jansson', 'crypto', 'pthread']
PUBLIC_NAMES = ('baton_*', 'status_name', 'status_text')

_lock = None


def hold_build_lock(folder):
    """Two builds in one tree would write the same files: the second waits."""
    global _lock
    os.makedirs(folder, exist_ok=True)
    _lock = open(os.path.join(folder, 'lock'), 'w')
    try:
        fcntl.flock(_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print('scons: waiting for another build in this tree to end',
              file=sys.stderr, flush=True)
        fcntl.flock(_lock, fcntl.LOCK_EX)


def without(flags, unwanted):
    return [flag for flag in flags if flag not in unwanted]


def pic_env(env):
    """For libbaton, which goes into other people's programs and libraries."""
    made = env.Clone()
    made['CCFLAGS'] = without(env['CCFLAGS'], ('-fPIE',))
    made['LINKFLAGS'] = without(env['LINKFLAGS'], ('-pie',))
    return made


def generated_env(env):
    """For protoc-c's code, which shifts into the sign bit."""
    made = env.Clone()
    made['CCFLAGS'] = without(env['CCFLAGS'], STRICT)
    if env['VARIANT'] in ('debug', 'fuzz'):
        made.Append(CCFLAGS=['-fno-sanitize=shift'])
    return made


def linked(env, folders):
    """What a program of these folders links: users first, then Debian's."""
    order = [name for name in reversed(USES) if name in folders]
    return ([env['LIBRARIES'][name] for name in order
             if name in env['LIBRARIES']] + env['SYSTEM_LIBS'])


def folder_rules(env, name, sources, generated=()):
    """The folder's library of all its sources but x_main.c, each of which is a program x of its own (x_y_main.c: x-y)."""
    mains = [node for node in sources if node.name.endswith('_main.c')]
    members = [node for node in sources if node not in mains]
    objects = env.Object(members) + generated_env(env).Object(generated)
    # A folder may still be empty; then nobody links it.
    if objects:
        env['LIBRARIES'][name] = env.StaticLibrary(name, objects)[0]
    if env['VARIANT'] == 'release' and name in PUBLIC_FOLDERS:
        pic = pic_env(env)
        # The command line's own files, cli*.c, are no part of libbaton.
        env['PIC'][name] = (
            pic.SharedObject([node for node in members
                              if not node.name.startswith('cli')])
            + generated_env(pic).SharedObject(generated))
    for main in mains:
        program = main.name[:-len('_main.c')].replace('_', '-')
        env['PROGRAMS'][program] = env.Program(
            program, [main], LIBS=linked(env, [name] + USES[name]))[0]


def text_literal(text):
    """A file's text as C writes it, a line a string, without trigraphs."""
    for char in ('\\', '"', '?'):
        text = text.replace(char, '\\' + char)
    lines = text.splitlines()
    return '\n'.join('    "%s\\n"' % line for line in lines)


def embedded_text(target, source, env):
    with open(str(source[0]), encoding='utf-8') as file:
        text = file.read()
    with open(str(target[0]), 'w', encoding='utf-8') as out:
        out.write('/* Made of %s by the build. */\n'
                  'extern const char %s[];\nconst char %s[] =\n%s;\n'
                  % (source[0].name, env['TEXT_NAME'], env['TEXT_NAME'],
                     text_literal(text)))


def text_rule(env, name, path):
    """A file that goes into the program, as `const char name[]`."""
    return env.Command(
        name + '.c', path,
        Action(embedded_text, '  TEXT    $TARGET', varlist=['TEXT_NAME']),
        TEXT_NAME=name)


def libbaton_rules(env):
    """build/release/client/libbaton.a and libbaton.so.1, for install."""
    if not env['PIC'].get('client'):
        return
    pic = pic_env(env)
    below = [pic.StaticLibrary(name + '_pic', env['PIC'][name])
             for name in PUBLIC_FOLDERS[1:] if env['PIC'].get(name)]
    # Whoever declares a name shows it, though libbaton itself may not use it.
    wanted = ['-u %s' % name for name in PUBLIC_NAMES if '*' not in name]
    names = pic.Textfile('libbaton.map', [
        '{ global: %s; local: *; };' % '; '.join(PUBLIC_NAMES)])
    shared = pic.SharedLibrary(
        'libbaton.so.1', env['PIC']['client'], SHLIBPREFIX='', SHLIBSUFFIX='',
        LIBS=below + PUBLIC_LIBS,
        LINKFLAGS=pic['LINKFLAGS'] + [
            '-Wl,' + ' '.join(wanted).replace(' ', ','),
            '-Wl,-soname,libbaton.so.1', '-Wl,--no-undefined',
            '-Wl,--version-script=' + names[0].abspath])
    Depends(shared, names)
    # One object whose other names are local, so that they can't clash with those of the program that links it.
    keep = ' '.join("--keep-global-symbol='%s'" % name
                    for name in PUBLIC_NAMES)
    pic.Command('libbaton.a', env['PIC']['client'] + below, Action(
        ' && '.join([
            'ld -r %s -o ${TARGET.dir}/baton.o $SOURCES' % ' '.join(wanted),
            'objcopy --wildcard %s ${TARGET.dir}/baton.o' % keep,
            'rm -f $TARGET',
            'ar rcsD $TARGET ${TARGET.dir}/baton.o']),
        '  AR      $TARGET'))


def header_text(path, seen):
    """A header with the project's own headers written where it includes them, each once."""
    lines = []
    for line in open(path, encoding='utf-8'):
        found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not found:
            lines.append(line)
        elif found.group(1) not in seen:
            seen.append(found.group(1))
            lines.append(header_text(found.group(1), seen))
    return ''.join(lines)


def public_header(target, source, env):
    with open(str(target[0]), 'w', encoding='utf-8') as out:
        out.write(header_text(str(source[0]), []))


def pkg_config(target, source, env):
    with open(str(target[0]), 'w', encoding='utf-8') as out:
        out.write('prefix=%s\nlibdir=${prefix}/lib\n'
                  'includedir=${prefix}/include\n\n'
                  'Name: baton\n'
                  'Description: leader election and session coordination\n'
                  'Version: %s\nLibs: -L${libdir} -lbaton\n'
                  'Libs.private: %s\nCflags: -I${includedir}\n'
                  % (source[0].read(), VERSION, ' '.join(
                      '-l' + name for name in PUBLIC_LIBS)))


def link_name(target, source, env):
    if os.path.lexists(str(target[0])):
        os.unlink(str(target[0]))
    os.symlink(source[0].name, str(target[0]))


def install_rules(env, alias, root, prefix):
    """Everything under `root`, which a user will see as `prefix`."""
    made = [env.Install(root + '/bin', list(env['PROGRAMS'].values()))]
    docs = ['README.md', 'CHANGELOG.md', 'LICENSE', 'docs']
    made.append(env.Install(root + '/share/doc/baton', [
        '#' + path for path in docs if os.path.exists(path)]))
    scenarios = Glob('#sim/scenarios/*.scn')
    if scenarios:
        made.append(env.Install(root + '/share/baton/scenarios', scenarios))
    if env['PIC'].get('client') and os.path.exists('client/baton.h'):
        inlined = []
        header_text('client/baton.h', inlined)
        header = env.Command(
            '$OUT/include/baton.h',
            ['#client/baton.h'] + ['#' + path for path in inlined],
            Action(public_header, '  HEADER  $TARGET'))
        package = env.Command(
            '$OUT/%s/baton.pc' % alias, env.Value(prefix),
            Action(pkg_config, '  PC      $TARGET'))
        shared = env.Install(root + '/lib', '$OUT/client/libbaton.so.1')
        made += [
            env.Install(root + '/include', header), shared,
            env.Install(root + '/lib', '$OUT/client/libbaton.a'),
            env.Install(root + '/lib/pkgconfig', package),
            env.Command(root + '/lib/libbaton.so', shared,
                        Action(link_name, '  LINK    $TARGET'))]
    Alias(alias, made)


def purity_rule(env):
    """The programs aren't made of pure folders that aren't pure."""
    libraries = [env['LIBRARIES'][name] for name in ('proto', 'raft', 'session')
                 if name in env['LIBRARIES']]
    return env.Command('$OUT/pure', libraries + [File('#tests/tidy.py')], Action(
        'tests/tidy.py pure && touch $TARGET', '  PURE    $SOURCES'))


def right_paths(target, source, env):
    """SCons names the sources of generated files as if they lay beside their .proto."""
    with open(str(source[0]), encoding='utf-8') as raw:
        entries = json.load(raw)
    for entry in entries:
        if not os.path.exists(entry['file']):
            entry['file'] = os.path.splitext(entry['output'])[0] + '.c'
    with open(str(target[0]), 'w', encoding='utf-8') as out:
        json.dump(entries, out, indent=1)
        out.write('\n')


def compile_commands(env):
    env['COMPILATIONDB_PATH_FILTER'] = env.subst('${OUT[1:]}/*')
    raw = env.CompilationDatabase('$OUT/compile_commands.json')
    return env.Command('#compile_commands.json', raw,
                       Action(right_paths, '  PATHS   $TARGET'))
