"""A program that does what it is told: each line of stdin is Python, the answer its repr."""

import ctypes
import fcntl
import os
import resource
import select
import signal
import socket
import struct
import sys
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
NAMES = {"os": os, "socket": socket, "signal": signal, "resource": resource, "select": select, "libc": LIBC}
NAMES |= {"fcntl": fcntl, "struct": struct, "ctypes": ctypes, "threading": threading, "time": time}

for line in sys.stdin:
    try:
        words = line.strip().encode().decode("unicode_escape")
        try:
            print(repr(eval(words, NAMES)), flush=True)
        except SyntaxError:
            exec(words, NAMES)
            print("None", flush=True)
    except Exception as error:
        print(f"! {error!r}", flush=True)
