package merge

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/internal/publish"
	"github.com/loratool/loratool/internal/strictjson"
)

// SidecarName is the file of an output folder that tells where it comes from.
const SidecarName = "loratool.json"

// ArithmeticVersion names how values are computed; outputs of one version have
// the same bytes for the same inputs.
const ArithmeticVersion = "exact-1"

// writeOthers writes the files of the folder that are not weights.
func (p *Plan) writeOthers(ctx context.Context, d *publish.Dir, r *Report) error {
	files, left, err := p.base.OtherFiles()
	if err != nil {
		return err
	}
	for _, l := range left {
		r.Notes = append(r.Notes, fmt.Sprintf("%s is not copied: %s", l.Path, l.Reason))
	}
	edits := p.configEdits()
	for _, name := range files {
		if name == "config.json" && len(edits) > 0 || name == SidecarName {
			continue
		}
		path := d.Path(name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			return err
		}
		if _, err := publish.CopyFileContext(ctx, path, filepath.Join(p.base.Dir(), filepath.FromSlash(name)), nil); err != nil {
			return err
		}
	}
	if len(edits) > 0 && p.targets.base.Config.Raw != nil {
		config := edit(p.targets.base.Config.Value, edits)
		if err := writeSmall(d, "config.json", append(config.AppendIndent(nil, "  "), '\n')); err != nil {
			return err
		}
	}
	if err := p.writeIndex(d); err != nil {
		return err
	}
	return p.writeSidecar(d)
}

func writeSmall(d *publish.Dir, name string, data []byte) error {
	f, err := d.Create(name)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	d.Expect(name, int64(len(data)))
	return f.Close()
}

// configEdits are the fields of config.json that the merge makes wrong.
func (p *Plan) configEdits() map[string]strictjson.Value {
	edits := map[string]strictjson.Value{}
	if p.targets.untie {
		edits["tie_word_embeddings"] = strictjson.Value{Kind: strictjson.Bool}
	}
	for _, name := range p.targets.names {
		t := p.targets.byName[name]
		_, old, ok := p.base.Lookup(name)
		path := name[:max(0, len(name)-len(".weight"))]
		if t.replace == nil || !ok || !adapter.IsEmbedding(path) && !adapter.OfVocabulary(p.targets.base, name) {
			continue
		}
		if rows := t.replace.Value.Shape[0]; rows != old.Shape[0] {
			edits["vocab_size"] = strictjson.Value{Kind: strictjson.Number, Text: strconv.Itoa(rows)}
		}
	}
	if name, ok := torchNames[p.options.DType.String()]; ok && p.options.DType != 0 {
		for _, field := range []string{"dtype", "torch_dtype"} {
			if _, ok := p.targets.base.Config.Value.Lookup(field); ok {
				edits[field] = strictjson.Value{Kind: strictjson.String, Text: name}
			}
		}
	}
	return edits
}

// torchNames are the names of dtypes in config.json.
var torchNames = map[string]string{"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}

// edit sets fields of a config, and those of its text_config that are there.
func edit(config strictjson.Value, edits map[string]strictjson.Value) strictjson.Value {
	config.Members = slices.Clone(config.Members)
	done := map[string]bool{}
	for i, m := range config.Members {
		if v, ok := edits[m.Name]; ok {
			config.Members[i].Value = v
			done[m.Name] = true
		}
		if m.Name == "text_config" && m.Value.Kind == strictjson.Object {
			inner := map[string]strictjson.Value{}
			for name, v := range edits {
				if _, ok := m.Value.Lookup(name); ok {
					inner[name] = v
				}
			}
			config.Members[i].Value = edit(m.Value, inner)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(edits)) {
		if !done[name] {
			config.Members = append(config.Members, strictjson.Member{Name: name, Value: edits[name]})
		}
	}
	return config
}

// writeIndex copies the index, or writes one where the tensors or their sizes
// changed.
func (p *Plan) writeIndex(d *publish.Dir) error {
	old := p.base.Index()
	if old == nil && len(p.files) < 2 || p.options.MaxShardBytes > 0 && len(p.files) < 2 {
		return nil
	}
	if old != nil && p.sameLayout() {
		return writeSmall(d, old.Name, old.Raw)
	}
	if old == nil && p.options.MaxShardBytes == 0 {
		return nil // the base has shards without an index, and so has the output
	}
	name := "model.safetensors.index.json"
	index := strictjson.Value{Kind: strictjson.Object}
	if old != nil {
		if p.options.MaxShardBytes == 0 {
			name = old.Name
		}
		index.Members = append(index.Members, strictjson.Member{Name: "metadata", Value: old.Metadata})
	} else {
		index.Members = append(index.Members, strictjson.Member{Name: "metadata", Value: strictjson.Value{Kind: strictjson.Object}})
	}
	total, shardOf := int64(0), map[string]string{}
	for _, f := range p.files {
		total += f.size - f.header.DataStart()
		for _, t := range f.header.Tensors() {
			shardOf[t.Name] = f.name
		}
	}
	size := map[string]strictjson.Value{"total_size": {Kind: strictjson.Number, Text: strconv.FormatInt(total, 10)}}
	if index.Members[0].Value.Kind != strictjson.Object {
		index.Members[0].Value = strictjson.Value{Kind: strictjson.Object}
	}
	index.Members[0].Value = edit(index.Members[0].Value, size)
	weights := strictjson.Value{Kind: strictjson.Object}
	for _, name := range slices.Sorted(maps.Keys(shardOf)) {
		weights.Members = append(weights.Members, strictjson.Member{Name: name, Value: strictjson.Value{Kind: strictjson.String, Text: shardOf[name]}})
	}
	index.Members = append(index.Members, strictjson.Member{Name: "weight_map", Value: weights})
	return writeSmall(d, name, append(index.AppendIndent(nil, "  "), '\n'))
}

// sameLayout reports whether every file has the header of its shard.
func (p *Plan) sameLayout() bool {
	shards := p.base.Shards()
	if p.options.MaxShardBytes > 0 || len(p.files) != len(shards) {
		return false
	}
	for i, f := range p.files {
		if f.header != shards[i].File.Header() {
			return false
		}
	}
	return true
}

// A sidecar tells where an output folder comes from. It has no paths, dates or
// host names: the same merge writes the same bytes everywhere.
type sidecar struct {
	Tool       string           `json:"tool"`
	Operation  string           `json:"operation"`
	Arithmetic string           `json:"arithmetic"`
	Rounding   string           `json:"rounding"`
	Seed       *uint64          `json:"seed,omitempty"`
	Adapters   []sidecarAdapter `json:"adapters"`
	Changed    []string         `json:"changed_tensors"`
}

type sidecarAdapter struct {
	Name   string  `json:"name"`
	Weight float64 `json:"weight"`
	SHA256 string  `json:"sha256"` // of the weights file
}

func (p *Plan) writeSidecar(d *publish.Dir) error {
	s := sidecar{Tool: "loratool", Operation: "merge", Arithmetic: ArithmeticVersion, Rounding: "nearest", Changed: []string{}}
	if p.options.Rounding == Stochastic {
		s.Rounding, s.Seed = "stochastic", &p.options.Seed
	}
	for _, a := range p.adapters {
		files, err := adapterFiles(a.Source)
		if err != nil {
			return err
		}
		s.Adapters = append(s.Adapters, sidecarAdapter{Name: filepath.Base(a.Source), Weight: a.Weight, SHA256: files[0].SHA256})
	}
	for _, ch := range p.changes {
		s.Changed = append(s.Changed, ch.out.Name)
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return writeSmall(d, SidecarName, append(data, '\n'))
}
