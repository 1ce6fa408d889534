"""Machines with a kernel of their own: QEMU guests, for what namespaced hosts on one kernel cannot show.

``image`` makes the disk that all guests start from, ``emulator`` knows QEMU, ``network`` the wires, ``guest``
one machine, ``bed`` all of them.
"""
