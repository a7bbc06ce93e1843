package dialect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/testdata/fixture"
)

func TestSplitPEFTKey(t *testing.T) {
	for _, c := range []struct {
		name    string
		module  string
		part    keyPart
		adapter string
	}{
		{"base_model.model.a.q_proj.lora_A.weight", "a.q_proj", partA, ""},
		{"base_model.model.a.q_proj.lora_B.default.weight", "a.q_proj", partB, "default"},
		{"base_model.model.a.q_proj.lora_B.bias", "a.q_proj", partBias, ""},
		{"base_model.model._orig_mod.a.lora_A.weight", "a", partA, ""},
		{"base_model.model.wte.lora_embedding_A", "wte", partEmbeddingA, ""},
		{"base_model.model.wte.lora_embedding_B.default", "wte", partEmbeddingB, "default"},
		{"base_model.model.a.lora_magnitude_vector", "a", partMagnitude, ""},
		{"base_model.model.a.lora_magnitude_vector.default.weight", "a", partMagnitude, "default"},
		{"base_model.model.a.experts.base_layer.lora_A.weight", "a.experts.base_layer", partA, ""},
		{"base_model.model.classifier.weight", "classifier.weight", partOther, ""},
		{"base_model.model.classifier.modules_to_save.bias", "classifier.bias", partOther, ""},
		{"base_model.model.classifier.modules_to_save.default.dense.bias", "classifier.dense.bias", partOther, "default"},
		{"base_model.model.a.q_proj.base_layer.bias", "a.q_proj.bias", partOther, ""},
		{"base_model.model.a.base_layer.out_proj.base_layer.bias", "a.out_proj.bias", partOther, ""},
		{"base_model.model.a.embed_tokens.base_layer.weight", "a.embed_tokens.base_layer.weight", partUnused, ""},
		{"base_model.model.a.embed_tokens.token_adapter.trainable_tokens_delta", "a.embed_tokens", partTokens, ""},
		{"base_model.model.a.lora_diag", "a", partRefused, ""},
		{"base_model.model.weight.lora_A.weight", "weight", partA, ""}, // a module named weight, peft#2772
		{"a.q_proj.lora_A.weight", "a.q_proj", partA, ""},
	} {
		k := splitPEFTKey(c.name)
		if k.module != c.module || k.part != c.part || k.adapter != c.adapter {
			t.Errorf("%s: module %q part %d adapter %q, want %q %d %q", c.name, k.module, k.part, k.adapter, c.module, c.part, c.adapter)
		}
	}
}

// TestPatterns holds the matching rule of rank_pattern against cases observed
// in PEFT 0.21 (tests/test_initialization.py, TestRankAndAlphaPattern, states
// the same rule).
func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          float64
	}{
		{`{"q_proj": 4}`, "model.layers.0.q_proj", 4},
		{`{"q_proj": 4}`, "q_proj", 4},
		{`{"q_proj": 4}`, "model.my_q_proj", 8},
		{`{"q_proj": 4}`, "model.q_proj.inner", 8},
		{`{"^model.layers.0.q_proj": 4}`, "model.layers.0.q_proj", 4},
		{`{"^layers.0.q_proj": 4}`, "model.layers.0.q_proj", 8},
		{`{"q_proj|v_proj": 4}`, "a.v_proj", 4},
		{`{".*\\.0\\..*": 4, "q_proj": 2}`, "model.0.q_proj", 4},
		{`{"q_proj": 2, ".*\\.0\\..*": 4}`, "model.0.q_proj", 2},
		{`{"layers.1.mlp.*": 4}`, "model.layers.1.mlp.up_proj", 4},
	} {
		cfg, err := parsePEFTConfig("c", []byte(`{"peft_type":"LORA","rank_pattern":`+c.pattern+`}`))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := cfg.rankPattern.lookup(c.name, 8); err != nil || got != c.want {
			t.Errorf("%s for %s = %v, %v; want %v", c.pattern, c.name, got, err, c.want)
		}
	}
	cfg, err := parsePEFTConfig("c", []byte(`{"peft_type":"LORA","alpha_pattern":{"(?!x)q":4}}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.alphaPattern.lookup("q", 8); !errors.Is(err, errNotRE2) {
		t.Errorf("a pattern with look-around gives %v", err)
	}
}

func TestConfigErrors(t *testing.T) {
	for _, c := range []struct {
		config string
		rule   rule.ID
	}{
		{`{"peft_type":"LORA","r":8,"r":9}`, "AD002"},
		{`{"peft_type":"LORA","lora_alpha":NaN}`, "AD002"},
		{`[]`, "AD002"},
		{"\ufeff{}", "AD002"},
		{`{"r":8}`, "AD006"},
		{`{"peft_type":"LORAX"}`, "AD006"},
		{`{"peft_type":"LORA","r":0}`, "AD004"},
		{`{"peft_type":"LORA","r":-5}`, "AD004"},
		{`{"peft_type":"LORA","r":4.0}`, "AD004"},
		{`{"peft_type":"LORA","r":"4"}`, "AD004"},
		{`{"peft_type":"LORA","r":true}`, "AD004"},
		{`{"peft_type":"LORA","r":2097152}`, "AD004"},
		{`{"peft_type":"LORA","lora_alpha":"16"}`, "AD005"},
		{`{"peft_type":"LORA","lora_alpha":1e999}`, "AD005"},
		{`{"peft_type":"LORA","bias":"some"}`, "AD003"},
		{`{"peft_type":"LORA","use_dora":1}`, "AD003"},
		{`{"peft_type":"LORA","target_modules":[1]}`, "AD003"},
		{`{"peft_type":"LORA","rank_pattern":{"q":0}}`, "AD003"},
		{`{"peft_type":"LORA","trainable_token_indices":[-1]}`, "AD003"},
	} {
		_, err := parsePEFTConfig("adapter_config.json", []byte(c.config))
		e, ok := errors.AsType[*rule.Error](err)
		if !ok || e.Rule != c.rule {
			t.Errorf("%s: %v, want rule %s", c.config, err, c.rule)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct{ config, want string }{
		{`{"peft_type":"IA3"}`, "IA3"},
		{`{"peft_type":"LORA","init_lora_weights":"pissa_niter_4"}`, "pissa_niter_4"},
		{`{"peft_type":"LORA","init_lora_weights":"olora"}`, "olora"},
		{`{"peft_type":"LORA","layer_replication":[[0,4],[2,5]]}`, "layer_replication"},
		{`{"peft_type":"LORA","use_qalora":true}`, "use_qalora"},
		{`{"peft_type":"LORA","lora_B_layout":"expert_major"}`, "lora_B_layout"},
		{`{"peft_type":"LORA","alora_invocation_tokens":[1]}`, "alora"},
		{`{"peft_type":"LORA","use_frobnication":true}`, "use_frobnication"},
	} {
		cfg, err := parsePEFTConfig("c", []byte(c.config))
		if err != nil || len(cfg.refusals) != 1 || !strings.Contains(cfg.refusals[0].What, c.want) {
			t.Errorf("%s: %v, refusals %v", c.config, err, cfg.refusals)
			continue
		}
		if cfg.refusals[0].Hint == "" {
			t.Errorf("%s: refused without a way out", c.config)
		}
	}
	for _, init := range []string{"", "Gaussian", "MiCA", "orthogonal"} {
		if cfg, err := parsePEFTConfig("c", []byte(`{"peft_type":"LORA","init_lora_weights":"`+init+`"}`)); err != nil || len(cfg.refusals) != 0 {
			t.Errorf("initialised by %q: %v %v", init, err, cfg.refusals)
		}
	}
	plain := `{"peft_type":"LORA","init_lora_weights":"eva","layer_replication":null,"use_qalora":false,"megatron_core":"megatron.core","new_field":null,"loftq_config":{}}`
	if cfg, err := parsePEFTConfig("c", []byte(plain)); err != nil || len(cfg.refusals)+len(cfg.warnings) != 0 {
		t.Errorf("a plain config: %v %v %v", err, cfg.refusals, cfg.warnings)
	}
}

// tensor makes float32 data of a shape, every element x.
func tensor(name string, x float32, shape ...int) safetensors.NamedData {
	n := 1
	for _, d := range shape {
		n *= d
	}
	data := make([]byte, 4*n)
	for i := range n {
		binary.LittleEndian.PutUint32(data[4*i:], math.Float32bits(x))
	}
	return safetensors.NamedData{Name: "base_model.model." + name, DType: dtype.F32, Shape: shape, Data: data}
}

func folder(t testing.TB, config string, tensors ...safetensors.NamedData) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ConfigName), []byte(config), 0o666); err != nil {
		t.Fatal(err)
	}
	fixture.Write(t, filepath.Join(dir, WeightsName), tensors...)
	return dir
}

func TestAdapterErrors(t *testing.T) {
	const plain = `{"peft_type":"LORA","r":2}`
	a, b := tensor("x.lora_A.weight", 1, 2, 3), tensor("x.lora_B.weight", 1, 4, 2)
	i32 := a
	i32.DType = dtype.I32
	for _, c := range []struct {
		name    string
		config  string
		tensors []safetensors.NamedData
		rule    rule.ID
	}{
		{"A alone", plain, []safetensors.NamedData{a}, "AD011"},
		{"B alone", plain, []safetensors.NamedData{b}, "AD011"},
		{"rank of config", `{"peft_type":"LORA","r":3}`, []safetensors.NamedData{a, b}, "AD012"},
		{"inner ranks", plain, []safetensors.NamedData{a, tensor("x.lora_B.weight", 1, 4, 3)}, "AD013"},
		{"vector", plain, []safetensors.NamedData{tensor("x.lora_A.weight", 1, 6), b}, "AD014"},
		{"integers", plain, []safetensors.NamedData{i32, b}, "AD015"},
		{"two spellings", plain, []safetensors.NamedData{a, b, tensor("x.lora_A.default.weight", 1, 2, 3)}, "AD023"},
		{"two adapters", plain, []safetensors.NamedData{tensor("x.lora_A.one.weight", 1, 2, 3), tensor("y.lora_A.two.weight", 1, 2, 3)}, "AD047"},
		{"empty", plain, []safetensors.NamedData{tensor("x.lora_A.weight", 1, 0), b}, "AD025"},
		{"nothing", plain, nil, "AD026"},
		{"use_dora without magnitude", `{"peft_type":"LORA","r":2,"use_dora":true}`, []safetensors.NamedData{a, b}, "AD031"},
		{"token rows", plain, []safetensors.NamedData{tensor("e.token_adapter.trainable_tokens_delta", 1, 2, 3)}, "AD046"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := OpenPEFT(folder(t, c.config, c.tensors...))
			if err == nil {
				f.Close()
			}
			e, ok := errors.AsType[*rule.Error](err)
			if !ok || e.Rule != c.rule {
				t.Errorf("%v, want rule %s", err, c.rule)
			}
		})
	}
}

func TestMissingFiles(t *testing.T) {
	dir := t.TempDir()
	expect := func(path string, id rule.ID, unsupported bool) {
		t.Helper()
		_, err := OpenPEFT(path)
		if e, ok := errors.AsType[*rule.Error](err); !ok || e.Rule != id || errors.Is(err, rule.ErrUnsupported) != unsupported {
			t.Errorf("%s: %v, want rule %s", path, err, id)
		}
	}
	expect(dir, "AD001", false)
	if err := os.WriteFile(filepath.Join(dir, ConfigName), []byte(`{"peft_type":"LORA"}`), 0o666); err != nil {
		t.Fatal(err)
	}
	expect(dir, "AD008", false)
	if err := os.WriteFile(filepath.Join(dir, pickleName), []byte("\x80\x02}"), 0o666); err != nil {
		t.Fatal(err)
	}
	expect(dir, "AD009", true)
	expect(filepath.Join(dir, pickleName), "AD009", true)
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"peft_type":"LORA","r":8,"rank_pattern":{"a|b":4},"trainable_token_indices":{"e":[1]}}`))
	f.Add([]byte(`{"peft_type":"LORA","lora_alpha":1e400,"modules_to_save":[null]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parsePEFTConfig("c", data)
		if (c == nil) == (err == nil) {
			t.Fatalf("config %v, error %v", c, err)
		}
		if err == nil {
			c.rankPattern.lookup("model.layers.0.q_proj", 8)
			c.alphaPattern.lookup("model.layers.0.q_proj", 8)
		}
	})
}

func ExampleOpenPEFT() {
	dir, _ := os.MkdirTemp("", "adapter")
	defer os.RemoveAll(dir)
	os.WriteFile(filepath.Join(dir, ConfigName), []byte(`{"peft_type": "LORA", "r": 2, "lora_alpha": 4}`), 0o666)
	w, _ := os.Create(filepath.Join(dir, WeightsName))
	safetensors.Write(w, []safetensors.NamedData{tensor("layers.0.q_proj.lora_A.weight", 1, 2, 3), tensor("layers.0.q_proj.lora_B.weight", 1, 4, 2)}, nil)
	w.Close()

	a, err := OpenPEFT(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	m := a.Modules[0]
	fmt.Println(m.Path, m.Kind == adapter.Linear, m.Rank, m.Scaling())
	// Output: layers.0.q_proj true 2 2
}

// TestTokenRowsByEnd has an embedding that a key names from the middle of a
// component on, which PEFT takes, beside one that it names in full.
func TestTokenRowsByEnd(t *testing.T) {
	f, err := OpenPEFT(folder(t, `{"peft_type":"LORA","trainable_token_indices":{"embeddings":[4],"m.embeddings":[7]}}`,
		tensor("m.embeddings.token_adapter.trainable_tokens_delta", 1, 1, 3), tensor("position_embeddings.token_adapter.trainable_tokens_delta", 1, 1, 3)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if len(f.Tokens) != 2 || f.Tokens[1].Path != "position_embeddings" || f.Tokens[1].Indices[0] != 4 {
		t.Errorf("rows %+v", f.Tokens)
	}
}

// TestExcludedTarget has a layer that exclude_modules takes from the targets
// and target_parameters adapts: its patterns match the parameter's name.
func TestExcludedTarget(t *testing.T) {
	f, err := OpenPEFT(folder(t, `{"peft_type":"LORA","r":1,"target_modules":["q","k"],"exclude_modules":"q","target_parameters":["q.weight"],"rank_pattern":{"^q":9},"alpha_pattern":{"q.weight":3}}`,
		tensor("q.lora_A.weight", 1, 1, 3), tensor("q.lora_B.weight", 1, 2, 1)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if m := f.Modules[0]; m.Name() != "q.weight" || m.Alpha != 3 {
		t.Errorf("module %s of alpha %g", m.Name(), m.Alpha)
	}
}

// TestTargetParameters tells layers from modules whose parameters are adapted,
// where target_parameters name parameters alone, twice over.
func TestTargetParameters(t *testing.T) {
	for _, c := range []struct{ name, config, params string }{
		{"list", `{"peft_type":"LORA","r":1,"target_modules":["q"],"target_parameters":["x.experts.up","up","down"]}`, "up down"},
		{"pattern", `{"peft_type":"LORA","r":1,"target_modules":".*\\.q","target_parameters":["up","down","up"]}`, "up down"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := OpenPEFT(folder(t, c.config, tensor("x.q.lora_A.weight", 1, 1, 3), tensor("x.q.lora_B.weight", 1, 2, 1),
				tensor("x.experts.lora_A.weight", 1, 2, 3), tensor("x.experts.lora_B.weight", 1, 2, 2)))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for _, m := range f.Modules {
				if got := strings.Join(m.Candidates, " "); m.Path == "x.q" && got != "" || m.Path == "x.experts" && got != c.params {
					t.Errorf("module %s may be %q", m.Path, got)
				}
			}
			if len(f.Modules) != 2 {
				t.Errorf("%d modules", len(f.Modules))
			}
		})
	}
}
