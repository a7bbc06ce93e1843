package checkpoint_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/testdata/hostile"
)

// bytesOf makes a file of one tensor U8 [4] with the bytes of text.
func bytesOf(name, text string) string {
	return string(hostile.File(hostile.Object(hostile.Entry(name, "U8", "[4]", "[0,4]")), 0)) + text
}

func put(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

func open(t *testing.T, path string, o checkpoint.Options) *checkpoint.Checkpoint {
	t.Helper()
	c, err := checkpoint.Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestOpenSharded(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]string{
		"z.safetensors": bytesOf("a", "aaaa"), "y.safetensors": bytesOf("b", "bbbb"),
		"model.safetensors.index.json": hostile.Index(`{"total_size":8}`, "b", "y.safetensors", "a", "z.safetensors"),
	})
	c := open(t, dir, checkpoint.Options{})
	if len(c.Warnings()) > 0 {
		t.Error(c.Warnings())
	}
	if s := c.Shards(); c.Dir() != dir || len(s) != 2 || s[0].Name != "y.safetensors" || s[1].Name != "z.safetensors" {
		t.Errorf("%s: shards %v", c.Dir(), s)
	}
	if !slices.Equal(c.Names(), []string{"a", "b"}) {
		t.Errorf("names %q", c.Names())
	}
	i, x, ok := c.Lookup("a")
	if !ok || i != 1 || x.DType != dtype.U8 || string(c.Bytes(i, x)) != "aaaa" {
		t.Errorf("a is %+v in shard %d", x, i)
	}
	if _, _, ok := c.Lookup("c"); ok {
		t.Error("found c")
	}
	ix := c.Index()
	if s, ok := ix.Shard("a"); !ok || s != "z.safetensors" || ix.Entries[0].Tensor != "b" || ix.Name != "model.safetensors.index.json" {
		t.Errorf("index %+v", ix)
	}
	if n, ok := ix.TotalSize(); n != 8 || !ok {
		t.Errorf("total_size %d", n)
	}
	if err := c.Unchanged(); err != nil {
		t.Error(err)
	}
	put(t, dir, map[string]string{"z.safetensors": bytesOf("a", "aaaaa")})
	if err := c.Unchanged(); !errors.Is(err, safetensors.ErrChanged) {
		t.Errorf("got %v", err)
	}
}

func TestOpenByFileOrIndex(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]string{
		"model.safetensors": bytesOf("a", "aaaa"), "b.safetensors": bytesOf("b", "bbbb"),
		"model.safetensors.index.json": hostile.Index(`{}`, "b", "b.safetensors"),
	})
	if c := open(t, filepath.Join(dir, "model.safetensors"), checkpoint.Options{}); c.Dir() != "" || c.Index() != nil || c.Names()[0] != "a" || c.Shards()[0].Name != "model.safetensors" {
		t.Errorf("file: %q %q", c.Dir(), c.Names())
	}
	if c := open(t, filepath.Join(dir, "model.safetensors.index.json"), checkpoint.Options{}); c.Dir() != dir || c.Names()[0] != "b" {
		t.Errorf("index: %q %q", c.Dir(), c.Names())
	}
}

const commit = "0123456789abcdef0123456789abcdef01234567"

// cache makes a hub cache of one model, snapshots linked to blobs.
func cache(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "models--org--name")
	put(t, root, map[string]string{
		"blobs/1": bytesOf("a", "aaaa"), "blobs/2": `{"model_type":"llama"}`,
		"refs/main": commit, "refs/v1.0": commit + "\n", "refs/pr/1": commit, "refs/evil": "../../../..",
	})
	snapshot := filepath.Join(root, "snapshots", commit)
	if err := os.MkdirAll(snapshot, 0o777); err != nil {
		t.Fatal(err)
	}
	for name, blob := range map[string]string{"model.safetensors": "1", "config.json": "2"} {
		if err := os.Symlink("../../blobs/"+blob, filepath.Join(snapshot, name)); err != nil {
			t.Skip(err)
		}
	}
	return dir
}

func TestOpenFromCache(t *testing.T) {
	o := checkpoint.Options{CacheDirs: []string{t.TempDir(), cache(t)}}
	for _, id := range []string{"org/name", "org/name@main", "org/name@v1.0", "org/name@pr/1", "org/name@" + commit} {
		c := open(t, id, o)
		if filepath.Base(c.Dir()) != commit || len(c.Names()) != 1 {
			t.Errorf("%s: %s", id, c.Dir())
		}
		if cfg, err := c.Config(); err != nil || cfg.ModelType() != "llama" {
			t.Errorf("%s: config %v, %v", id, cfg, err)
		}
	}
	if _, err := checkpoint.Open("org/name", checkpoint.Options{}); err == nil || !strings.Contains(err.Error(), "HF_HOME") {
		t.Errorf("without a cache: %v", err)
	}
	for id, command := range map[string]string{
		"org/other":         "hf download org/other",
		"gpt2":              "hf download gpt2",
		"org/name@v2":       "hf download org/name --revision v2",
		"org/name@evil":     "hf download org/name --revision evil",
		"org/name@01234567": "hf download org/name --revision 01234567",
	} {
		_, err := checkpoint.Open(id, o)
		e, ok := errors.AsType[*checkpoint.NotCachedError](err)
		if !ok || e.Command != command || !strings.Contains(err.Error(), command) {
			t.Errorf("%s: got %v", id, err)
		}
	}
	for _, path := range []string{"org/name@../../x", "../name", "/org/name", "a/b/c", "org/na--me", "", "x.safetensors", "org/name@a/../../b"} {
		if _, err := checkpoint.Open(path, o); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%q: got %v, want no such file", path, err)
		}
	}
}

func TestCacheDirs(t *testing.T) {
	env := map[string]string{"HOME": "/h", "HF_HOME": "~/hf", "XDG_CACHE_HOME": "/x", "HF_HUB_CACHE": "/1", "HUGGINGFACE_HUB_CACHE": "/2"}
	want := []string{"/1", "/2", "/h/hf/hub", "/x/huggingface/hub", "/h/.cache/huggingface/hub"}
	got := checkpoint.CacheDirs(func(k string) string { return env[k] })
	for i := range got {
		got[i] = filepath.ToSlash(got[i])
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	env = map[string]string{"HOME": "/h", "HF_HOME": "~", "XDG_CACHE_HOME": "~other"}
	want = []string{"/h/hub", "~other/huggingface/hub", "/h/.cache/huggingface/hub"}
	got = checkpoint.CacheDirs(func(k string) string { return env[k] })
	for i := range got {
		got[i] = filepath.ToSlash(got[i])
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got := checkpoint.CacheDirs(func(string) string { return "" }); len(got) != 0 {
		t.Errorf("without environment: %q", got)
	}
}

func TestConfig(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, map[string]string{"model.safetensors": bytesOf("a", "aaaa"), "config.json": `{
		"model_type":"mamba2","architectures":["Mamba2ForCausalLM"],"time_step_limit":[0.0,Infinity],
		"text_config":{"tie_word_embeddings":true},"quantization_config":{"quant_method":"fp8","x":1}}`})
	c := open(t, dir, checkpoint.Options{})
	cfg, err := c.Config()
	if err != nil {
		t.Fatal(err)
	}
	tied, ok := cfg.TieWordEmbeddings()
	q := cfg.Quantization()
	if cfg.ModelType() != "mamba2" || !slices.Equal(cfg.Architectures(), []string{"Mamba2ForCausalLM"}) || !tied || !ok || q == nil || q.Method != "fp8" {
		t.Errorf("%+v", cfg)
	}
	for _, bad := range []string{`{"a":1,"a":2}`, "[]", "", "\uFEFF{}", "{}x"} {
		put(t, dir, map[string]string{"config.json": bad})
		if cfg, err := c.Config(); err == nil {
			t.Errorf("%q accepted: %v", bad, cfg)
		}
	}
	put(t, dir, map[string]string{"config.json": `{"tie_word_embeddings":null,"quantization_config":null,"architectures":null}`})
	cfg, err = c.Config()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := cfg.TieWordEmbeddings(); ok || cfg.Quantization() != nil || cfg.ModelType() != "" || cfg.Architectures() != nil {
		t.Errorf("%+v", cfg)
	}
	if err := os.Remove(filepath.Join(dir, "config.json")); err != nil {
		t.Fatal(err)
	}
	if cfg, err := c.Config(); cfg != nil || err != nil {
		t.Errorf("without: %v, %v", cfg, err)
	}
}

func TestOtherFiles(t *testing.T) {
	dir := t.TempDir()
	keep := []string{"1_Pooling/config.json", "2_Dense/model.safetensors", "LICENSE", "README.md", "config.json", "generation_config.json", "tokenizer.json", "tokenizer.model"}
	leave := []string{".cache/", ".gitattributes", "adapter_config.json", "adapter_model.safetensors", "checkpoint-500/", "consolidated.safetensors", "flax_model.msgpack", "gone", "model.fp16.safetensors",
		"model.gguf", "onnx/", "original/", "pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json", "tf_model.h5", "training_args.bin"}
	files := map[string]string{"x.safetensors": bytesOf("a", "aaaa"), "model.safetensors.index.json": hostile.Index(`{}`, "a", "x.safetensors")}
	for _, k := range slices.Concat(keep, leave) {
		switch {
		case k == "gone":
		case strings.HasSuffix(k, "/"):
			files[k+"file"] = "x"
		default:
			files[k] = "x"
		}
	}
	put(t, dir, files)
	if err := os.Symlink("nowhere", filepath.Join(dir, "gone")); err != nil {
		t.Skip(err)
	}
	got, left, err := open(t, dir, checkpoint.Options{}).OtherFiles()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, keep) {
		t.Errorf("copied %q\nwant   %q", got, keep)
	}
	var paths []string
	for _, l := range left {
		if paths = append(paths, l.Path); l.Reason == "" {
			t.Errorf("%s: no reason", l.Path)
		}
	}
	if !reflect.DeepEqual(paths, leave) {
		t.Errorf("left %q\nwant %q", paths, leave)
	}
}

// TestManyShards opens 1,000 shards of 100 tensors.
func TestManyShards(t *testing.T) {
	if testing.Short() {
		t.Skip("slow to make")
	}
	dir := t.TempDir()
	var pairs []string
	for i := range 1000 {
		shard := fmt.Sprintf("model-%05d-of-01000.safetensors", i+1)
		var entries []string
		for k := range 100 {
			name := fmt.Sprintf("model.layers.%d.mlp.experts.%d.down_proj.weight", i, k)
			entries = append(entries, hostile.Entry(name, "U8", "[4]", fmt.Sprintf("[%d,%d]", 4*k, 4*k+4)))
			pairs = append(pairs, name, shard)
		}
		put(t, dir, map[string]string{shard: string(hostile.File(hostile.Object(entries...), 400))})
	}
	put(t, dir, map[string]string{"model.safetensors.index.json": hostile.Index(`{"total_size":400000}`, pairs...)})
	start := time.Now()
	c := open(t, dir, checkpoint.Options{})
	took := time.Since(start)
	t.Logf("%v", took)
	if len(c.Names()) != 100_000 || len(c.Warnings()) > 0 {
		t.Errorf("%d tensors, %d warnings", len(c.Names()), len(c.Warnings()))
	}
	if took > slowdown*5*time.Second {
		t.Errorf("took %v", took)
	}
}

// FuzzIndex checks that what ParseIndex accepts is what it says, and that no
// shard name leaves the folder.
func FuzzIndex(f *testing.F) {
	for _, s := range []string{
		hostile.Index(`{"total_size":1}`, "a", "x.safetensors"), hostile.Index(`null`, "a", "../x.safetensors"),
		`{"weight_map":{"\u0061":"x.safetensors","a":"x.safetensors"}}`, `{"weight_map":{}}`, `{"metadata":{"total_size":1e3},"weight_map":{"a":"sub/x.safetensors"}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ix, err := checkpoint.ParseIndex(data, "i")
		if err != nil {
			if v := verdict(err); v == "error" {
				t.Fatalf("no rule: %v", err)
			}
			return
		}
		for _, e := range ix.Entries {
			if s, ok := ix.Shard(e.Tensor); !ok || s != ix.Shards[e.Shard] {
				t.Fatalf("%q is in %q", e.Tensor, s)
			}
		}
		for _, s := range ix.Shards {
			full := filepath.Join("/folder", filepath.FromSlash(s))
			if !filepath.IsLocal(s) || !strings.HasPrefix(full, "/folder/") || filepath.Clean(full) != full || strings.ContainsAny(s, "\\:\x00") {
				t.Fatalf("shard %q", s)
			}
		}
	})
}
