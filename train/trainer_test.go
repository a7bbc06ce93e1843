package train

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/train/internal/data"
)

// variants are options of every method that the base can be trained with.
func variants() map[string]Options {
	all := map[string]Options{}
	for _, m := range []Method{LoRA, Full, PreEmbed, PreLayer, AdapterH} {
		all[string(m)] = quick(m)
	}
	for name, change := range map[string]func(*Options){
		"rslora":  func(o *Options) { o.RsLoRA = true },
		"dora":    func(o *Options) { o.DoRA = true },
		"pissa":   func(o *Options) { o.Init = "pissa"; o.LR = 1e-3 },
		"dropout": func(o *Options) { o.Dropout = 0.1; o.LoRAPlus = 4; o.Schedule = Cosine; o.Warmup = 2 },
		"pack":    func(o *Options) { o.Pack, o.MaxLen = true, 20 },
	} {
		o := quick(LoRA)
		change(&o)
		all[name] = o
	}
	ft := all["ft"]
	ft.LR = 1e-3
	all["ft"] = ft
	return all
}

// Every method learns, its file loads again with the same logits, and the
// bytes do not depend on the number of workers nor on a stop on the way.
func TestMethods(t *testing.T) {
	for name, o := range variants() {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tr := newTrainer(t, o)
			losses := run(t, tr)
			if len(losses) != 8 || !(losses[7] < 0.95*losses[0]) {
				t.Errorf("losses %v, expected 8 that fall", losses)
			}
			whole := filepath.Join(dir, "whole")
			if err := tr.Write(whole, WriteOptions{}); err != nil {
				t.Fatal(err)
			}
			checkReload(t, tr, whole)
			o.Workers = 3
			o.StopAt = 3
			state := filepath.Join(dir, "state")
			first := newTrainer(t, o)
			if err := first.Run(t.Context(), Hooks{Save: func() error { return first.SaveState(state) }}); err != nil {
				t.Fatal(err)
			}
			o.Workers, o.StopAt = 1, 0
			second := newTrainer(t, o)
			if err := second.Resume(state); err != nil {
				t.Fatal(err)
			}
			if done, all := second.Steps(); done != 3 || all != 8 {
				t.Errorf("resumed at step %d of %d", done, all)
			}
			run(t, second)
			resumed := filepath.Join(dir, "resumed")
			if err := second.Write(resumed, WriteOptions{}); err != nil {
				t.Fatal(err)
			}
			sameFolder(t, whole, resumed)
		})
	}
}

// checkReload holds the logits of a written adapter against those in memory.
func checkReload(t *testing.T, tr *Trainer, path string) {
	t.Helper()
	a, err := dialect.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	m, err := Load(storiesBase(t), a, 2)
	if err != nil {
		t.Fatal(err)
	}
	tokens := pattern(1)[0].Tokens
	got, err := m.Logits(tokens)
	if err != nil {
		t.Fatal(err)
	}
	defer exact(tr.m)() // as Load is
	want, err := (&Model{tr.m}).Logits(tokens)
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range want {
		if got[i] != x {
			t.Fatalf("logit %d is %g after reloading, %g in memory", i, got[i], x)
		}
	}
}

func sameFolder(t *testing.T, a, b string) {
	t.Helper()
	entries, err := os.ReadDir(a)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		x, err := os.ReadFile(filepath.Join(a, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		y, err := os.ReadFile(filepath.Join(b, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(x, y) {
			t.Errorf("%s differs", e.Name())
		}
	}
}

func TestResumeRefuses(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	tr := newTrainer(t, quick(LoRA))
	if err := tr.SaveState(state); err != nil {
		t.Fatal(err)
	}
	o := quick(LoRA)
	o.LR = 1
	if err := newTrainer(t, o).Resume(state); err == nil || !strings.Contains(err.Error(), "LR is 1, was 0.01") {
		t.Errorf("other options: error %v", err)
	}
	other, err := New(storiesBase(t), pattern(29), nil, quick(LoRA))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Resume(state); err == nil || !strings.Contains(err.Error(), "other samples") {
		t.Errorf("other samples: error %v", err)
	}
	lastByte := func(raw []byte) { raw[len(raw)-1] ^= 1 }
	if err := changedBase(t, "model.safetensors", lastByte).Resume(state); err == nil || !strings.Contains(err.Error(), "another base") {
		t.Errorf("another base: error %v", err)
	}
	epsilon := func(raw []byte) { copy(raw[bytes.Index(raw, []byte("1e-05")):], "1e-06") }
	if err := changedBase(t, "config.json", epsilon).Resume(state); err == nil || !strings.Contains(err.Error(), "config.json of the base has changed") {
		t.Errorf("another config: error %v", err)
	}
	if err := tr.Resume("../testdata/stories260k/base/model.safetensors"); err == nil || !strings.Contains(err.Error(), "not the state") {
		t.Errorf("a model: error %v", err)
	}
}

// changedBase returns a trainer on the base with one of its files changed.
func changedBase(t *testing.T, name string, change func([]byte)) *Trainer {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../testdata/stories260k/base")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	change(raw)
	if err := os.WriteFile(path, raw, 0o666); err != nil {
		t.Fatal(err)
	}
	base, err := checkpoint.Open(dir, checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { base.Close() })
	tr, err := New(base, pattern(30), nil, quick(LoRA))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func TestRunStops(t *testing.T) {
	o := quick(LoRA)
	o.LR, o.Clip, o.Steps = 1e30, 0, 20
	tr := newTrainer(t, o)
	saved := 0
	err := tr.Run(t.Context(), Hooks{Save: func() error { saved++; return nil }})
	if !errors.Is(err, ErrDiverged) || saved != 1 || tr.Done() {
		t.Errorf("error %v, saved %d times, want one that says that training diverged, and one", err, saved)
	}
	ctx, cancel := context.WithCancel(t.Context())
	tr = newTrainer(t, quick(LoRA))
	err = tr.Run(ctx, Hooks{
		Event: func(e Event) error {
			if e.Step == 2 {
				cancel()
			}
			return nil
		},
		Save: func() error { saved++; return nil },
	})
	if done, _ := tr.Steps(); !errors.Is(err, context.Canceled) || done != 2 || saved != 2 {
		t.Errorf("interrupted: error %v at step %d, saved %d times", err, done, saved)
	}
}

func TestNewRefuses(t *testing.T) {
	long := data.Sequences{{Tokens: make([]int32, 40), Learn: append(make([]bool, 39), true)}}
	for _, c := range []struct {
		name    string
		samples data.Sequences
		change  func(*Options)
		want    string
	}{
		{"no samples", nil, func(*Options) {}, "no samples to learn from"},
		{"nothing left", long, func(o *Options) { o.MaxLen = 10 }, "nothing to learn in 1 samples within 10 tokens"},
		{"token", data.Sequences{pattern(1)[0], {Tokens: []int32{1, 512}, Learn: []bool{true, true}}}, func(*Options) {}, "sample 2 has token 512, the base has a vocabulary of 512"},
		{"negative token", data.Sequences{{Tokens: []int32{1, -1}, Learn: []bool{true, true}}}, func(*Options) {}, "sample 1 has token -1"},
		{"no biases", pattern(1), func(o *Options) { o.Method = BitFit }, "has none"},
		{"target", pattern(1), func(o *Options) { o.Targets = []string{"q_prj"} }, "there are q_proj, k_proj"},
		{"memory", pattern(1), func(o *Options) { o.Batch = 1 << 20 }, "of memory besides the base's"},
		{"method", pattern(1), func(o *Options) { o.Method = "x" }, "method"},
		{"dropout", pattern(1), func(o *Options) { o.Dropout = 1 }, "dropout is 1"},
		{"dropout that rounds to 1", pattern(1), func(o *Options) { o.Dropout = 1 - 1e-9 }, "dropout is 0.999999999"},
		{"rank", pattern(1), func(o *Options) { o.Rank = 1 << 62 }, "rank is 4.611686018427388e+18, expected at most"},
		{"batch", pattern(1), func(o *Options) { o.Batch = 1 << 62 }, "batch is 4.611686018427388e+18, expected at most"},
		{"warmup", pattern(1), func(o *Options) { o.Warmup = 1e30 }, "warmup is 1e+30, expected at most"},
		{"epochs", pattern(9), func(o *Options) { o.Steps, o.Epochs, o.Accumulate = 0, 1<<31, 1 }, "steps of 1 batches are too many"},
		{"batches", pattern(1), func(o *Options) { o.Steps, o.Accumulate = 1<<30, 4 }, "1073741824 steps of 4 batches are too many"},
		{"PiSSA of a negative", pattern(1), func(o *Options) { o.Init, o.Alpha = "pissa", -1 }, "alpha is -1, the init of PiSSA takes one above 0"},
		{"schedule", pattern(1), func(o *Options) { o.Schedule = "up" }, "schedule"},
	} {
		o := quick(LoRA)
		c.change(&o)
		if _, err := New(storiesBase(t), c.samples, nil, o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

// TestSteps counts steps: of whole epochs, of parts of them, whose steps are
// rounded up, and of so many that they could not all be laid out beforehand.
func TestSteps(t *testing.T) {
	for _, c := range []struct {
		samples, batch, accumulate, steps int
		epochs                            float64
		pack                              bool
		want                              int
	}{
		{10, 3, 1, 0, 1, false, 4},
		{10, 3, 2, 0, 1, false, 2},
		{10, 3, 2, 0, 2.25, false, 5},
		{10, 3, 9, 0, 0.1, false, 1},
		{10, 3, 1, 7, 0, false, 7},
		{10, 3, 1, 1 << 31, 0, false, 1 << 31},
		{10, 3, 1, 0, 1 << 20, false, 4 << 20},
		{10, 1, 1, 0, 3, true, 3 * 5}, // samples of 12 to 16 tokens, two of which fit 28
	} {
		o := quick(LoRA)
		o.Batch, o.Accumulate, o.Steps, o.Epochs, o.Pack = c.batch, c.accumulate, c.steps, c.epochs, c.pack
		o.MaxLen, o.NoShuffle = 32, true
		tr, err := New(storiesBase(t), pattern(c.samples), nil, o)
		if err != nil {
			t.Fatal(err)
		}
		if _, all := tr.Steps(); all != c.want {
			t.Errorf("%+v: %d steps", c, all)
		}
	}
}

// Learning rates of transformers' get_scheduler with 10 steps, 3 of warmup.
func TestRate(t *testing.T) {
	for _, c := range []struct {
		s    Schedule
		want []float64
	}{
		{Linear, []float64{0, 1. / 3, 2. / 3, 1, 6. / 7, 5. / 7}},
		{Cosine, []float64{0, 1. / 3, 2. / 3, 1, 0.9504844339512095, 0.8117449009293668}},
		{Constant, []float64{0, 1. / 3, 2. / 3, 1, 1, 1}},
	} {
		o := Optimizer{LR: 1, Schedule: c.s, Warmup: 3}
		for step, want := range c.want {
			if got := o.rate(step, 10); got-want > 1e-12 || want-got > 1e-12 {
				t.Errorf("%s: step %d has rate %g, want %g", c.s, step, got, want)
			}
		}
	}
}

// TestPiSSAOfLowRank begins with linears of ranks below that of the updates,
// 0 among them, as blocks have that were added to a model: the model is still
// the base, and all rows are trained.
func TestPiSSAOfLowRank(t *testing.T) {
	o := quick(LoRA)
	o.Init, o.Rank, o.Targets = "pissa", 70, []string{"q_proj", "o_proj"}
	tr, err := New(lowRankBase(t), pattern(30), nil, o)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := Load(tr.base, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := tr.Compare(plain); err != nil || !(a.Relative() < 1e-5) {
		t.Errorf("before the first step %g from the base, %v", a.Relative(), err)
	}
	before := tr.m.Backend()
	start := map[string][]float32{}
	for _, p := range tr.m.Params() {
		start[p.Name] = make([]float32, p.Elements())
		before.Read(start[p.Name], p.Value)
	}
	run(t, tr)
	for _, p := range tr.m.Params() {
		now := make([]float32, p.Elements())
		before.Read(now, p.Value)
		for i := range p.Value.Rows {
			if n := p.Value.Cols; slices.Equal(now[i*n:][:n], start[p.Name][i*n:][:n]) {
				t.Errorf("row %d of %s was not trained", i, p.Name)
			}
		}
	}
}

func TestDoRAOfZeroRows(t *testing.T) {
	o := quick(LoRA)
	o.DoRA = true
	_, err := New(lowRankBase(t), pattern(30), nil, o)
	if want := "layers.0.self_attn.q_proj: row 1 of the weight is zero"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
	o.Targets = []string{"v_proj"}
	if _, err := New(lowRankBase(t), pattern(30), nil, o); err != nil {
		t.Error(err)
	}
}

// lowRankBase is storiesBase with a first q_proj of rank 0 and o_proj of rank 1.
func lowRankBase(t *testing.T) *checkpoint.Checkpoint {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../testdata/stories260k/base")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "model.safetensors")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	base := storiesBase(t)
	for name, change := range map[string]func([]float32){
		"model.layers.0.self_attn.q_proj.weight": func(x []float32) { clear(x) },
		"model.layers.0.self_attn.o_proj.weight": func(x []float32) {
			for i := range x {
				x[i] = x[i%64] * x[i/64*64]
			}
		},
	} {
		shard, tensor, ok := base.Lookup(name)
		if !ok {
			t.Fatal(name)
		}
		old := base.Bytes(shard, tensor)
		values := make([]float32, len(old)*8/tensor.DType.Bits())
		tensor.DType.Decode32(values, old)
		change(values)
		tensor.DType.Encode32(raw[bytes.Index(raw, old):][:len(old)], values)
	}
	if err := os.WriteFile(path, raw, 0o666); err != nil {
		t.Fatal(err)
	}
	changed, err := checkpoint.Open(dir, checkpoint.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { changed.Close() })
	return changed
}
