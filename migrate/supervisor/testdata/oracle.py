"""Supervisor's own view of a file, for the tests.

Reads one JSON request a line, {"file": path, "env": {...}}, and answers with one
line: {"error": text} when Supervisor refuses the file, else {"processes": [...]}.
The host is taken to be the one the file was written for: users, directories and
plug-ins it names exist.
"""
import json
import os
import shlex
import sys
import warnings

warnings.simplefilter("ignore")
from supervisor import options  # noqa: E402
from supervisor.datatypes import Automatic, RestartUnconditionally, RestartWhenExitUnexpected  # noqa: E402


def user(name):
    if not name:
        raise ValueError("Invalid user name")
    return name


options.name_to_uid = user
options.colon_separated_user_group = lambda text: (-1, -1)
options.existing_dirpath = options.existing_directory = os.path.expanduser
import supervisor.datatypes  # noqa: E402

supervisor.datatypes.existing_dirpath = os.path.expanduser
options.platform.node = lambda: "thishost"


def plain(value):
    return "AUTO" if value is Automatic else value


def argv(command):
    try:
        return shlex.split(command)
    except ValueError:
        return None


def process(group, config):
    restart = {RestartUnconditionally: "true", RestartWhenExitUnexpected: "unexpected", False: "false"}[config.autorestart]
    return {
        "group": group.name, "kind": type(config).__name__, "name": config.name, "command": config.command, "argv": argv(config.command),
        "environment": config.environment, "directory": config.directory, "user": config.uid, "umask": config.umask,
        "priority": config.priority, "autostart": config.autostart, "autorestart": restart, "startsecs": config.startsecs,
        "startretries": config.startretries, "stopsignal": int(config.stopsignal), "stopwaitsecs": config.stopwaitsecs,
        "stopasgroup": config.stopasgroup, "killasgroup": config.killasgroup, "exitcodes": config.exitcodes,
        "redirect_stderr": config.redirect_stderr, "serverurl": config.serverurl,
        "stdout": stream(config, "stdout"), "stderr": stream(config, "stderr"),
    }


def stream(config, name):
    def get(key):
        return plain(getattr(config, name + "_" + key))
    return {"path": get("logfile"), "maxbytes": get("logfile_maxbytes"), "backups": get("logfile_backups"),
            "syslog": get("syslog"), "capture": get("capture_maxbytes"), "events": get("events_enabled")}


def look(request):
    path = request["file"]
    o = options.ServerOptions()
    o.import_spec = lambda spec: None
    o.get_plugins = lambda *args: []
    o.environ_expansions = {"ENV_" + k: v for k, v in request["env"].items()}
    o.configfile = path
    o.here = os.path.dirname(os.path.abspath(path))
    try:
        o.read_config(path)
    except Exception as e:
        return {"error": type(e).__name__ + ": " + str(e)}
    return {"processes": [process(g, c) for g in o.configroot.supervisord.process_group_configs for c in g.process_configs],
            "umask": o.configroot.supervisord.umask, "minfds": o.configroot.supervisord.minfds,
            "identifier": o.configroot.supervisord.identifier, "user": o.configroot.supervisord.user}


for line in sys.stdin:
    print(json.dumps(look(json.loads(line))), flush=True)
