"""The wire protocol from outside: just enough protobuf, framing and client to say what no library of ours would say.

Field numbers and types are read from proto/baton/v1/*.proto, so a message here is what it is there. A message is written as a
dict ({'path': {'namespace': 'acme'}}) and read as an object with all its fields, those not sent at their defaults. Enums are
their names."""
import os
import re
import socket
import struct
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
SCALARS = {'uint32': VARINT, 'uint64': VARINT, 'bool': VARINT,
           'sint32': VARINT, 'sint64': VARINT, 'fixed64': FIXED64,
           'bytes': BYTES, 'string': BYTES}
VERSION = 1


# --- the .proto files ---------------------------------------------------------------------------------------------------

def read_schema():
    """({message: {field: (number, type, repeated)}}, {enum: {name: number}})."""
    messages, enums = {}, {}
    folder = os.path.join(ROOT, 'proto', 'baton', 'v1')
    for name in sorted(os.listdir(folder)):
        if not name.endswith('.proto'):
            continue
        with open(os.path.join(folder, name), encoding='utf-8') as file:
            text = re.sub(r'//[^\n]*', '', file.read())
        for kind, title, body in re.findall(
                r'\b(message|enum)\s+(\w+)\s*\{((?:[^{}]|\{[^{}]*\})*)\}',
                text):
            if kind == 'enum':
                enums[title] = {name: int(number) for name, number
                                in re.findall(r'(\w+)\s*=\s*(\d+)', body)}
                continue
            messages[title] = {
                name: (int(number), type_name, bool(repeated))
                for repeated, type_name, name, number in re.findall(
                    r'(repeated\s+)?(\w+)\s+(\w+)\s*=\s*(\d+)\s*;', body)}
    return messages, enums


MESSAGES, ENUMS = read_schema()
NAMES = {enum: {number: name for name, number in values.items()}
         for enum, values in ENUMS.items()}


# --- protobuf -------------------------------------------------------------------------------------------------------------

def varint(number):
    out = bytearray()
    while number > 0x7f:
        out.append(number & 0x7f | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def encode_value(type_name, value):
    """(wire type, bytes) of one value."""
    if type_name in MESSAGES:
        body = encode(type_name, value)
        return BYTES, varint(len(body)) + body
    if type_name in ENUMS:
        return VARINT, varint(ENUMS[type_name].get(value, value)
                              if isinstance(value, str) else value)
    if type_name in ('string', 'bytes'):
        body = value.encode() if isinstance(value, str) else value
        return BYTES, varint(len(body)) + body
    if type_name == 'fixed64':
        return FIXED64, struct.pack('<Q', value)
    if type_name in ('sint32', 'sint64'):
        return VARINT, varint(value * 2 if value >= 0 else -value * 2 - 1)
    return VARINT, varint(int(value))


def encode(message, fields):
    out = b''
    for name, value in fields.items():
        number, type_name, repeated = MESSAGES[message][name]
        for one in value if repeated else [value]:
            wire_type, body = encode_value(type_name, one)
            out += varint(number << 3 | wire_type) + body
    return out


class Message:
    """What was received: every field of its type is an attribute."""

    def __init__(self, type_name):
        self.type_name = type_name
        for name, (_, field_type, repeated) in MESSAGES[type_name].items():
            setattr(self, name, [] if repeated else default_of(field_type))

    def __repr__(self):
        said = {name: getattr(self, name) for name in MESSAGES[self.type_name]}
        return '%s(%s)' % (self.type_name, ', '.join(
            '%s=%r' % item for item in said.items() if item[1]))

    def plain(self):
        """Its fields as a dict, to be compared."""
        return {name: getattr(self, name)
                for name in MESSAGES[self.type_name]}


def default_of(type_name):
    if type_name in MESSAGES:
        return None
    if type_name in ENUMS:
        return NAMES[type_name].get(0, 0)
    return {'string': '', 'bytes': b'', 'bool': False}.get(type_name, 0)


def read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7f) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def decode_scalar(type_name, raw):
    if type_name in ('sint32', 'sint64'):
        return raw >> 1 if raw & 1 == 0 else -(raw + 1 >> 1)
    if type_name == 'bool':
        return raw != 0
    if type_name in ENUMS:
        return NAMES[type_name].get(raw, raw)
    return raw


def decode_bytes(type_name, raw, skip):
    """What a length-delimited field holds, as a list: packed numbers are several."""
    if type_name == skip:
        return [raw]
    if type_name in MESSAGES:
        return [decode(type_name, raw, skip)]
    if type_name in ('string', 'bytes'):
        return [raw.decode() if type_name == 'string' else raw]
    values, at = [], 0
    while at < len(raw):
        if type_name == 'fixed64':
            value, at = struct.unpack_from('<Q', raw, at)[0], at + 8
        else:
            value, at = read_varint(raw, at)
        values.append(decode_scalar(type_name, value))
    return values


def decode(message, data, skip=None):
    """Messages of the type `skip` in it are left as bytes."""
    out = Message(message)
    known = {number: (name, type_name, repeated) for
             name, (number, type_name, repeated) in MESSAGES[message].items()}
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        if tag & 7 == VARINT:
            raw, at = read_varint(data, at)
        elif tag & 7 == FIXED64:
            raw, at = struct.unpack_from('<Q', data, at)[0], at + 8
        elif tag & 7 == FIXED32:
            raw, at = struct.unpack_from('<I', data, at)[0], at + 4
        else:
            n, at = read_varint(data, at)
            raw, at = data[at:at + n], at + n
        if tag >> 3 not in known:
            continue
        name, type_name, repeated = known[tag >> 3]
        values = decode_bytes(type_name, raw, skip) if tag & 7 == BYTES else \
            [decode_scalar(type_name, raw)]
        if repeated:
            getattr(out, name).extend(values)
        else:
            setattr(out, name, values[-1])
    return out


# --- streams ----------------------------------------------------------------------------------------------------------------

class Closed(Exception):
    """The other side closed the stream."""


class Late(Exception):
    """Nothing came before the deadline."""


class Frames:
    """A connected socket that carries frames."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b''

    def send(self, body):
        self.send_raw(struct.pack('>I', len(body)) + body)

    def send_raw(self, data):
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Closed(str(error)) from error

    def receive(self, patience):
        """The next body. Closed, Late."""
        deadline = time.monotonic() + patience
        while True:
            if len(self.buffer) >= 4:
                n = struct.unpack_from('>I', self.buffer)[0]
                if len(self.buffer) >= 4 + n:
                    body = self.buffer[4:4 + n]
                    self.buffer = self.buffer[4 + n:]
                    return body
            left = deadline - time.monotonic()
            if left <= 0:
                raise Late('no frame within %.1f s' % patience)
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(1 << 16)
            except socket.timeout as error:
                raise Late('no frame within %.1f s' % patience) from error
            except OSError as error:
                raise Closed(str(error)) from error
            if not data:
                raise Closed('end of stream')
            self.buffer += data

    def close(self):
        self.sock.close()


def dial(address, patience=5.0):
    """Frames to HOST:PORT, or to a Unix socket's path."""
    try:
        if address.startswith('/'):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(patience)
            sock.connect(address)
        else:
            host, port = address.rsplit(':', 1)
            sock = socket.create_connection((host, int(port)), patience)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise Closed('%s: %s' % (address, error)) from error
    return Frames(sock)


def ask_admin(path, patience=5.0, **op):
    """One AdminRequest, one AdminReply."""
    frames = dial(path, patience)
    try:
        frames.send(encode('AdminRequest', dict(
            version=VERSION, correlation_id=os.urandom(16), **op)))
        return decode('AdminReply', frames.receive(patience))
    finally:
        frames.close()


class Stream:
    """A client's stream to one node, past its Hello."""

    def __init__(self, address, patience=5.0):
        self.frames = dial(address, patience)
        self.waiting = []
        self.last_id = 0
        self.hello = self.call(patience, hello={
            'version': VERSION, 'nonce': os.urandom(16)}).hello

    def send(self, timeout_ms=5000, **op):
        """Sends a request; its id."""
        self.last_id += 1
        self.frames.send(encode('ClientRequest', dict(
            version=VERSION, id=self.last_id, correlation_id=os.urandom(16),
            timeout_ms=timeout_ms, **op)))
        return self.last_id

    def next(self, request, patience=10.0):
        """The next message for that request or watch; the others wait for theirs."""
        for at, message in enumerate(self.waiting):
            if message.id == request:
                return self.waiting.pop(at)
        deadline = time.monotonic() + patience
        while True:
            message = decode('ClientMessage', self.frames.receive(
                max(0.0, deadline - time.monotonic())))
            if message.id == request:
                return message
            self.waiting.append(message)

    def call(self, patience=10.0, timeout_ms=5000, **op):
        return self.next(self.send(timeout_ms, **op), patience)

    def close(self):
        self.frames.close()
