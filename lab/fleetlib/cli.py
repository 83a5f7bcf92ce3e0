"""The command line of `lab/fleet`."""

import argparse
import contextlib
import json
import os
import pathlib
import signal
import sys
import time

from . import fleet, host, machine, naming, steps

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
PASS_THROUGH = ("salt", "salt-run", "exec")


def parser():
    """Returns the ArgumentParser of everything but what follows `salt`, `salt-run` and `exec HOST`."""
    top = argparse.ArgumentParser(
        prog="lab/fleet",
        description="A Salt master, web servers and a database as real machines: systemd-nspawn, own daemons.",
        epilog="GLOBOAPP_LAB=name is another fleet of the same checkout; GLOBOAPP_SALT='salt~=3006.28' another Salt.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="boot a master and web servers; what runs already stays")
    up.add_argument("--web", type=_count, default=2, metavar="N", help="web servers with Debian 12 (default 2)")
    up.add_argument("--trixie", type=_count, default=0, metavar="N", help="web servers with Debian 13 beside those")
    up.add_argument("--db", action="store_true", help="a machine with Debian's PostgreSQL, for versions that need one")
    up.add_argument("--lb", action="store_true", help="a machine for a load balancer: a minion with nothing on it")
    down = commands.add_parser("down", help="leave no process, mount, interface or file of the fleet")
    down.add_argument("--all", action="store_true", help="all fleets of this checkout, and of checkouts that are gone")
    status = commands.add_parser("status", help="names, addresses, up or not; exit code 1 when one is off")
    status.add_argument("--json", action="store_true", help="for programs")
    commands.add_parser("can", help=f"can machines be booted here? exit code {host.NO_MACHINES} when not")
    for name, text in (
        ("cut", "take the power from a host: SIGKILL to all of it, the disk is kept"),
        ("boot", "boot a host from its disk"),
    ):
        commands.add_parser(name, help=text).add_argument("host", metavar="HOST")
    salt = {"salt": "run salt on the master", "salt-run": "run salt-run on the master"}
    for name, text in salt.items():
        commands.add_parser(name, help=text, add_help=False)
    inside = commands.add_parser("exec", help="run a command on a host: exec HOST -- CMD...", add_help=False)
    inside.add_argument("host", metavar="HOST")
    return top


def parse(argv):
    """Returns (namespace, rest): what `parser` understands, and the words that are passed through untouched."""
    if argv and argv[0] in PASS_THROUGH:
        known = 2 if argv[0] == "exec" else 1
        rest = argv[known:]
        if argv[0] == "exec":
            rest = rest[1:] if rest[:1] == ["--"] else rest
            if not rest:
                parser().error("exec wants a host and a command: lab/fleet exec web1 -- systemctl status")
        return parser().parse_args(argv[:known]), rest
    return parser().parse_args(argv), []


def main(argv):
    """Runs one command and returns its exit code.

    0 done, 1 failed (or a host is off, for `status`), 3 no machines can be booted here; `salt`, `salt-run` and `exec`
    end with the exit code of what they ran.
    """
    args, rest = parse(argv)
    lab = naming.Lab(CHECKOUT, os.environ.get("GLOBOAPP_LAB", ""))
    # A command for a lab that is there needs no four namespaces to see whether one could be.
    there = args.command in PASS_THROUGH and os.geteuid() == 0 and lab.state.exists()
    why_not = None if there else host.obstacle()
    if why_not:
        print(
            f"lab/fleet: machines cannot be booted here: {why_not}. With VirtualBox or libvirt: vagrant up",
            file=sys.stderr,
        )
        return host.NO_MACHINES
    if args.command == "can":
        return 0
    try:
        if args.command in PASS_THROUGH:
            return _pass_through(lab, args, rest)
        if args.command == "status":
            return _status(lab, args.json)
        return _change(lab, args)
    except steps.Failure as failure:
        print(f"lab/fleet {args.command}: {failure}", file=sys.stderr)
        return 1


def _pass_through(lab, args, rest):
    """Becomes the command: input, output, signals and exit code are its own."""
    name = args.host if args.command == "exec" else "master"
    argv = rest if args.command == "exec" else [args.command, *rest]
    entered = fleet.Fleet(lab).machine(name).enter(argv)
    os.execvpe(entered[0], entered, machine.environment())


def _status(lab, as_json):
    status = fleet.Fleet(lab).status()
    if as_json:
        print(json.dumps(status, indent=2))
    elif not status["hosts"]:
        print("no fleet. lab/fleet up makes one")
    for each in [] if as_json else status["hosts"]:
        print(f"{each['name']:<8} {each['address']:<15} {each['suite']:<9} {'up' if each['up'] else 'off'}")
    return 0 if status["hosts"] and all(each["up"] for each in status["hosts"]) else 1


def _change(lab, args):
    begin = time.monotonic()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    if args.command == "down" and args.all:
        for each in fleet.abandoned(lab):
            with fleet.exclusive(each):
                fleet.Fleet(each).down()
    with fleet.exclusive(lab):
        these = fleet.Fleet(lab)
        if args.command == "up":
            these.up(naming.wanted_hosts(args.web, args.trixie, database=args.db, balancer=args.lb))
            steps.say(f"up after {time.monotonic() - begin:.1f} s")
            return _status(lab, False)
        if args.command == "down":
            steps.say("nothing left" if these.down() else "there was nothing")
        if args.command == "cut":
            these.cut(args.host)
        if args.command == "boot":
            these.boot(args.host)
    return 0


def _interrupted(number, _frame):
    """Ends at once: builds are tied to our life, machines are not, and `down` finds those by name."""
    with contextlib.suppress(OSError):
        os.write(2, f"\nlab/fleet: ended by {signal.Signals(number).name}. lab/fleet down clears what is up\n".encode())
    os._exit(128 + number)


def _count(text):
    number = int(text)
    if not 0 <= number <= naming.MAX_WEB:
        raise argparse.ArgumentTypeError(f"{number} is not between 0 and {naming.MAX_WEB}")
    return number
