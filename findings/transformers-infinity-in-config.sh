#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# transformers 5.24.0: a saved config.json spells an infinite number as an object, which from_dict
# of the same class refuses.
#
# Guess: as in json.dumps, Infinity is written bare (no strict JSON), and what a class writes its
# own from_dict takes.
# Seen: time_step_limit of models with Mamba blocks, [0.0, Infinity], is written as
# [0.0, {"__float__": "Infinity"}].  from_pretrained turns the object back; from_dict of the parsed
# text fails in its strict validation.  A reader of config.json other than transformers meets an
# object where a number is due.
# Output seen:
#   Mamba2Config: saved [0.0, {'__float__': 'Infinity'}], loaded 0.0 inf, from_dict refused
#   BambaConfig: saved [0.0, {'__float__': 'Infinity'}], loaded 0.0 inf, from_dict refused
#   NemotronHConfig: saved [0.0, {'__float__': 'Infinity'}], loaded 0.0 inf, from_dict refused
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install transformers==5.24.0
"$work/venv/bin/python" - "$work/saved" >"$work/out" 2>"$work/err" <<'END' || {
import json
import sys

import transformers

for name in ("Mamba2Config", "BambaConfig", "NemotronHConfig"):
    config = getattr(transformers, name)
    folder = f"{sys.argv[1]}/{name}"
    config().save_pretrained(folder)
    with open(f"{folder}/config.json") as file:
        saved = json.load(file)
    try:
        config.from_dict(saved)
        answer = "taken"
    except Exception:
        answer = "refused"
    read = config.from_pretrained(folder).time_step_limit
    saw = saved["time_step_limit"]
    print(f"{name}: saved {saw}, loaded {read[0]} {read[1]}, from_dict {answer}")
END
  cat "$work/err"
  exit 1
}
cat "$work/out"
diff "$work/out" <(sed -n 's/^#   //p' "$0") && echo "as it was seen"
