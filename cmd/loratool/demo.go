package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/merge"
	"github.com/loratool/loratool/testdata/stories260k"
)

func newDemoCmd() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "A tour on a real model and a real adapter that checks every claim",
		Long: `demo merges an adapter that PEFT trained into stories260K, a small trained
model, both part of this program, and checks the result against what PEFT and
exact arithmetic gave. It unmerges it to the byte, extracts the adapter from
the merged model again and validates it. It works offline, in a temporary
folder or in -o, and fails if any check does.

` + exitHelp,
		Example: `  loratool demo
  loratool demo -o ./tour`,
		Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), output, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "`folder` to work in, which must not exist (default: a temporary one, removed at the end)")
	return cmd
}

// A tour is one run of the demo.
type tour struct {
	ctx      context.Context
	dir      string
	out      io.Writer
	expected stories260k.Expected
	steps    int
	checks   int
}

func runDemo(ctx context.Context, output string, stdout io.Writer) (err error) {
	start := time.Now()
	t := &tour{ctx: ctx, dir: output, out: stdout}
	if t.expected, err = stories260k.Load(); err != nil {
		return err
	}
	if output == "" {
		if t.dir, err = os.MkdirTemp("", "loratool-demo-"); err != nil {
			return err
		}
		defer os.RemoveAll(t.dir)
	} else if err := os.Mkdir(output, 0o777); errors.Is(err, fs.ErrExist) {
		return usagef("-o %q exists: name a folder that does not", output)
	} else if err != nil {
		return err
	}
	if err := copyEmbedded(stories260k.Files, t.dir); err != nil {
		return err
	}
	for _, step := range []func() error{t.inspect, t.merge, t.verify, t.repeat, t.refuse, t.unmerge, t.extract} {
		if err := step(); err != nil {
			return err
		}
	}
	fmt.Fprintf(stdout, "\n%s passed in %s\n", count(t.checks, "check"), time.Since(start).Round(time.Millisecond))
	return nil
}

// copyEmbedded writes the embedded folders out.
func copyEmbedded(files fs.FS, dir string) error {
	return fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(path))
		if d.IsDir() {
			return os.MkdirAll(to, 0o777)
		}
		data, err := fs.ReadFile(files, path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o666)
	})
}

func (t *tour) path(name string) string { return filepath.Join(t.dir, name) }

// step announces a command as a user would type it.
func (t *tour) step(format string, args ...any) {
	t.steps++
	fmt.Fprintf(t.out, "\n%d. loratool %s\n", t.steps, fmt.Sprintf(format, args...))
}

// check says what was compared, or fails.
func (t *tour) check(ok bool, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	if !ok {
		return fmt.Errorf("demo: check failed: %s", what)
	}
	t.checks++
	fmt.Fprintf(t.out, "   ok: %s\n", what)
	return nil
}

func (t *tour) inspect() error {
	t.step("inspect base adapter")
	return runInspect(t.ctx, []string{t.path("base"), t.path("adapter")}, inspectOptions{}, t.out)
}

// mergeTo merges the adapter into the base.
func (t *tour) mergeTo(out string, adapter string, o merge.Options) (*merge.Report, error) {
	base, err := checkpoint.Open(t.path("base"), checkpoint.Options{})
	if err != nil {
		return nil, err
	}
	defer base.Close()
	a, err := openAdapter(adapter)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	return merge.Apply(t.ctx, t.path(out), base, []merge.Weighted{{Adapter: a.Adapter, Weight: 1}}, o)
}

func (t *tour) merge() error {
	t.step("merge base adapter -o merged --record merged.rec")
	start := time.Now()
	r, err := t.mergeTo("merged", t.path("adapter"), merge.Options{Record: t.path("merged.rec")})
	if err != nil {
		return err
	}
	r.Record.Path = "merged.rec"
	printMerge(t.out, t.out, r, false, time.Since(start))
	if err := t.check(r.Adapters[0].Applied == r.Adapters[0].Modules, "every one of the %d modules was applied", r.Adapters[0].Modules); err != nil {
		return err
	}
	return t.check(r.Total.Changed == t.expected.Changed, "%d elements changed, as many as in exact arithmetic", r.Total.Changed)
}

// digests returns the SHA-256 of the bytes of each tensor.
func digests(path string) (map[string]string, error) {
	c, err := checkpoint.Open(path, checkpoint.Options{})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	found := map[string]string{}
	for _, name := range c.Names() {
		shard, tensor, _ := c.Lookup(name)
		sum := sha256.Sum256(c.Bytes(shard, tensor))
		found[name] = hex.EncodeToString(sum[:])
	}
	return found, nil
}

func (t *tour) verify() error {
	fmt.Fprintf(t.out, "\nverify against PEFT %s and exact arithmetic\n", t.expected.MadeBy["peft"])
	found, err := digests(t.path("merged"))
	if err != nil {
		return err
	}
	same := len(found) == len(t.expected.SHA256)
	for name, sum := range t.expected.SHA256 {
		same = same && found[name] == sum
	}
	if err := t.check(same, "the bytes of all %d tensors are the correctly rounded result", len(found)); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "   PEFT's own merge rounds in float32 and differs in %d elements, by %g at most\n", t.expected.PEFT.Differ, t.expected.PEFT.Largest)
	fmt.Fprintf(t.out, "   base:   %s\n   merged: %s\n", text.Quote(firstSentences(t.expected.Text.Base)), text.Quote(firstSentences(t.expected.Text.Merged)))
	return t.check(t.expected.Text.Merged == t.expected.Text.Adapter, "transformers continues a story with the merged model as with the adapter beside the base (recorded)")
}

func firstSentences(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}

func (t *tour) repeat() error {
	t.step("merge base adapter -o again, on one processor")
	old := runtime.GOMAXPROCS(1)
	_, err := t.mergeTo("again", t.path("adapter"), merge.Options{})
	runtime.GOMAXPROCS(old)
	if err != nil {
		return err
	}
	first, err := os.ReadFile(filepath.Join(t.path("merged"), "model.safetensors"))
	if err != nil {
		return err
	}
	second, err := os.ReadFile(filepath.Join(t.path("again"), "model.safetensors"))
	if err != nil {
		return err
	}
	return t.check(string(first) == string(second), "the file has the same %s as before", text.Bytes(int64(len(first))))
}

// refuse shows that nothing is merged in part.
func (t *tour) refuse() error {
	t.step("merge base adapter-of-another-model -o never")
	other := t.path("other")
	if err := renameLayers(t.path("adapter"), other); err != nil {
		return err
	}
	_, err := t.mergeTo("never", other, merge.Options{})
	if err == nil {
		return t.check(false, "an adapter for layers that the base lacks is refused")
	}
	fmt.Fprintf(t.out, "   loratool: %s\n   hint: %s\n", oneLine(shorten(err.Error(), t.dir)), oneLine(hintFor(err)))
	_, statErr := os.Stat(t.path("never"))
	return t.check(os.IsNotExist(statErr), "it is refused, and nothing was written")
}
