"""A neighbour who looks for targets: asks every low address of his subnet who is there, and writes it down.

usage: attacker.py SECONDS. One line a look: the moment, then target/process=address for each that answered.
Runs in a tenant's container with nothing but the standard library.
"""

import socket
import sys
import threading
import time

PORT = 7000
REACH = 16  # addresses; Docker gives the lowest that is free


def ask(address: str, found: dict[str, str], patience: float = 0.4) -> None:
    """Put what answers at ``address`` into ``found``: a target says its name and which process it is."""
    try:
        with socket.create_connection((address, PORT), timeout=patience) as connection:
            connection.settimeout(patience)
            connection.sendall(b"who\n")
            words = connection.makefile("rb").readline(200).decode().split()
    except (OSError, UnicodeDecodeError):
        return
    if len(words) == 2:
        found["/".join(words)] = address


def look(network: str, own: str) -> dict[str, str]:
    """Who answers now. All are asked at once: most addresses are empty and say so by silence."""
    found: dict[str, str] = {}
    addresses = [f"{network}.{number}" for number in range(2, 2 + REACH)]
    asking = [
        threading.Thread(target=ask, args=(address, found), daemon=True)
        for address in addresses
        if address != own
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    return found


def address() -> str:
    """His own, towards anywhere; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect(("192.0.2.1", 9))
        found: str = out.getsockname()[0]
        return found


def main() -> None:
    """Look around for ever."""
    every = float(sys.argv[1])
    own = address()
    network = own.rpartition(".")[0]
    while True:
        began = time.time()
        found = look(network, own)
        print(f"{began:.3f}", *(f"{who}={where}" for who, where in sorted(found.items())), flush=True)
        time.sleep(max(0.0, began + every - time.time()))


if __name__ == "__main__":
    main()
