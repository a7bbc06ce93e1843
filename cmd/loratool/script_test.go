package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/loratool/loratool/testdata/stories260k"
)

// TestMain lets scripts run this binary as the command loratool.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"loratool": main})
}

// TestScripts runs testdata/script/*.txtar. Beside the commands of testscript
// and loratool itself, which runs from this test binary, scripts have
//
//	exits CODE COMMAND...         run COMMAND and compare its exit status
//	lines [stdout|stderr|FILE] N  count lines
//	json [stdout|FILE] PATH WANT  compare a value of a JSON document; PATH is
//	                              such as total.changed, files.0.name or files.len
//	                              for a length; WANT is JSON, or a bare string
//	sha256eq FILE FILE...         files have the same bytes
//	nearly FILE FILE SHARE        tensors differ by at most that share of their norm
//	sparse FILE SIZE              make FILE that long
//	stories [DIR]                 the trained base and adapter of
//	                              testdata/stories260k, as base/ and adapter/
//	mktensors, mkbase, mkadapter  see script_make_test.go
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     scriptExits,
			"lines":     scriptLines,
			"json":      scriptJSON,
			"sha256eq":  scriptSHA256,
			"nearly":    scriptNearly,
			"sparse":    scriptSparse,
			"stories":   scriptStories,
			"mktensors": scriptTensors,
			"mkbase":    scriptBase,
			"mkadapter": scriptAdapter,
		},
	})
}

// usage fails the script unless ok.
func usage(ts *testscript.TestScript, ok bool, text string) {
	if !ok {
		ts.Fatalf("usage: %s", text)
	}
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) >= 2, "exits CODE COMMAND...")
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit status %d, want %s", code, args[0])
	}
}

func scriptLines(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) == 2, "lines FILE N")
	n := strings.Count(ts.ReadFile(args[0]), "\n")
	if (strconv.Itoa(n) == args[1]) == neg {
		ts.Fatalf("%s has %d lines", args[0], n)
	}
}

func scriptJSON(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) == 3, "json FILE PATH WANT")
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	for step := range strings.SplitSeq(args[1], ".") {
		v = jsonStep(ts, v, step)
	}
	var want any
	if json.Unmarshal([]byte(args[2]), &want) != nil {
		want = args[2]
	}
	got, err := json.Marshal(v)
	ts.Check(err)
	wanted, err := json.Marshal(want)
	ts.Check(err)
	if (string(got) == string(wanted)) == neg {
		ts.Fatalf("%s is %s", args[1], got)
	}
}

func jsonStep(ts *testscript.TestScript, v any, step string) any {
	switch v := v.(type) {
	case map[string]any:
		if step == "len" {
			return len(v)
		}
		return v[step]
	case []any:
		if step == "len" {
			return len(v)
		}
		if i, err := strconv.Atoi(step); err == nil && i < len(v) {
			return v[i]
		}
	}
	ts.Fatalf("there is no %q in the document", step)
	return nil
}

func scriptSHA256(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) >= 2, "sha256eq FILE FILE...")
	sum := func(name string) [32]byte { return sha256.Sum256([]byte(ts.ReadFile(name))) }
	for _, name := range args[1:] {
		if (sum(name) == sum(args[0])) == neg {
			ts.Fatalf("%s and %s: unexpected result of comparison", args[0], name)
		}
	}
}

func scriptSparse(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 2, "sparse FILE SIZE")
	size, err := strconv.ParseInt(args[1], 0, 64)
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_CREATE|os.O_WRONLY, 0o666)
	ts.Check(err)
	ts.Check(f.Truncate(size))
	ts.Check(f.Close())
}

func scriptStories(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) <= 1, "stories [DIR]")
	ts.Check(copyEmbedded(stories260k.Files, ts.MkAbs(append(args, ".")[0])))
}
