"""What a guest may put on its wire, through its TAP and in the guest's place.

usage: frames.py dhcp TAP MAC IDENTIFIER        asks for an address, and prints it, or `none`
       frames.py udp6 TAP MAC ADDRESS TAP MAC ADDRESS SOURCE:DESTINATION…
                                                sends UDP from the first to the second, and prints what arrived
"""

import fcntl
import os
import select
import struct
import sys
import time

TUNSETIFF, TAP_WITHOUT_HEADER = 0x400454CA, 0x1002


def wire(tap):
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", tap.encode(), TAP_WITHOUT_HEADER))
    return file


def frames(file, seconds):
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([file], [], [], left)[0]:
            yield os.read(file, 2048)


def mac_of(text):
    return bytes.fromhex(text.replace(":", ""))


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF or 0xFFFF


def dhcp(tap, mac, identifier):
    file, mac, identifier = wire(tap), mac_of(mac), bytes.fromhex(identifier)
    number = os.urandom(4)

    def ask(kind, more=b""):
        options = bytes([53, 1, kind, 61, len(identifier)]) + identifier + more
        bootp = struct.pack("!BBBB4s20x", 1, 1, 6, 0, number) + mac + b"\0" * 202
        bootp += b"\x63\x82\x53\x63" + options + bytes([55, 1, 3, 255])
        udp = struct.pack("!HHH", 68, 67, 8 + len(bootp))
        ends = b"\0" * 4 + b"\xff" * 4
        rest = struct.pack("!BBH", 0, 17, 8 + len(bootp)) + udp
        udp += struct.pack("!H", checksum(ends + rest + b"\0\0" + bootp)) + bootp
        ip = struct.pack("!BBHHHBB", 0x45, 0, 20 + len(udp), 1, 0, 64, 17)
        ip += struct.pack("!H", checksum(ip + b"\0\0" + ends)) + ends
        os.write(file, b"\xff" * 6 + mac + b"\x08\x00" + ip + udp)
        for frame in frames(file, 4):
            answer = frame[42:]
            if frame[23:24] == b"\x11" and frame[34:38] == b"\0\x43\0\x44" and answer[4:8] == number:
                return answer[16:20], frame[26:30]
        return None, None

    # A bridge's port that has just got its guest.
    time.sleep(0.5)
    address, server = ask(1)
    if address:
        address, _ = ask(3, b"\x32\x04" + address + b"\x36\x04" + server)
    print(".".join(map(str, address)) if address else "none")


def udp6(sender, receiver, ports):
    files = [wire(tap) for tap, _, _ in (sender, receiver)]
    (_, mac, source), (_, to, destination) = sender, receiver
    ends = bytes(0).join(
        struct.pack("!8H", *(int(part or "0", 16) for part in whole(text))) for text in (source, destination)
    )
    # So that the bridge knows where it is: a search for itself.
    for file, own in zip(files, (mac, to)):
        arp = b"\0\1\x08\0\6\4\0\1" + mac_of(own) + b"\0" * 4 + b"\0" * 6 + bytes([10, 6, 1, 77])
        os.write(file, b"\xff" * 6 + mac_of(own) + b"\x08\x06" + arp)
    time.sleep(0.5)
    for pair in ports:
        from_port, to_port = map(int, pair.split(":"))
        word = pair.encode()
        udp = struct.pack("!HHH", from_port, to_port, 8 + len(word))
        rest = struct.pack("!I3xB", 8 + len(word), 17) + udp
        udp += struct.pack("!H", checksum(ends + rest + b"\0\0" + word)) + word
        ip = struct.pack("!IHBB", 0x60000000, len(udp), 17, 64) + ends
        os.write(files[0], mac_of(to) + mac_of(mac) + b"\x86\xdd" + ip + udp)
    seen = [
        frame[62:].decode()
        for frame in frames(files[1], 3)
        if frame[6:12] == mac_of(mac) and frame[12:14] == b"\x86\xdd" and frame[20] == 17
    ]
    print(" ".join(seen) or "nothing")


def whole(text):
    """The eight parts of an IPv6 address."""
    left, _, right = text.partition("::")
    left, right = (side.split(":") if side else [] for side in (left, right))
    return left + ["0"] * (8 - len(left) - len(right)) + right


kind, *words = sys.argv[1:]
if kind == "dhcp":
    dhcp(*words)
else:
    udp6(words[:3], words[3:6], words[6:])
