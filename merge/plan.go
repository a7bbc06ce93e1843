package merge

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/binding"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/format/safetensors"
)

// A Plan says, from headers alone, what a merge will read and write.
type Plan struct {
	base     *checkpoint.Checkpoint
	adapters []Weighted
	options  Options
	targets  *targets
	files    []outFile
	changes  []*change // of adapted tensors, in the order of the output
	total    Stats     // of what is written so far
}

// An outFile is one weights file of the output.
type outFile struct {
	name     string // in the output folder
	header   *safetensors.Header
	segments []segment // nil for a clone
	clone    string    // path of the shard that is copied as it is, or ""
	size     int64
}

// NewPlan finds what the adapters do to the base. It reads headers only and
// fails on everything that would make the merge fail for a reason that headers
// show.
func NewPlan(base *checkpoint.Checkpoint, adapters []Weighted, o Options) (*Plan, error) {
	if err := checkInputs(base, adapters, o); err != nil {
		return nil, err
	}
	view, err := adapter.NewView(base)
	if err != nil {
		return nil, err
	}
	if q := view.Config.Quantization(); q != nil { // its names are those of the method
		return nil, quantizedError(base.Dir(), q.Method)
	}
	ts, err := gatherTargets(view, adapters, o)
	if err != nil {
		return nil, cmp.Or(quantizedModule(view, adapters), err) // a base quantized to other names or shapes fits no adapter
	}
	if err := ts.checkQuantized(); err != nil {
		return nil, err
	}
	p := &Plan{base: base, adapters: adapters, options: o, targets: ts}
	if o.MaxShardBytes > 0 {
		err = p.reshard()
	} else {
		err = p.keepShards()
	}
	return p, err
}

func checkInputs(base *checkpoint.Checkpoint, adapters []Weighted, o Options) error {
	if len(adapters) == 0 {
		return fmt.Errorf("no adapter to merge")
	}
	for _, a := range adapters {
		if math.IsNaN(a.Weight) || math.IsInf(a.Weight, 0) {
			return fmt.Errorf("weight %v of %s is not a finite number", a.Weight, a.Source)
		}
	}
	if o.DType != 0 && !o.DType.Float() {
		return &rule.Unsupported{What: fmt.Sprintf("output dtype %v", o.DType), Hint: "use bf16, f16, f32 or f64"}
	}
	for _, w := range base.Warnings() {
		if w.Rule == "SH013" {
			return w // which of the two the user means, nobody can tell
		}
	}
	for _, a := range adapters {
		if o.AllowBaseMismatch {
			break
		}
		if err := binding.CheckShapes(a.Adapter, base, binding.Options{Names: o.Names}); err != nil {
			return err
		}
	}
	if o.MaxShardBytes > 0 && base.Dir() == "" {
		return fmt.Errorf("a base of one file has no shards: --max-shard-size needs a folder")
	}
	return nil
}

// outDType is the dtype that a tensor of the base has in the output.
func (o Options) outDType(d dtype.DType) dtype.DType {
	if o.DType != 0 && d.Float() {
		return o.DType
	}
	return d
}

// spec describes the output tensor of a target.
func (p *Plan) spec(t *target) safetensors.Spec {
	if t.replace != nil {
		d := p.options.outDType(t.replace.Value.DType)
		if _, old, ok := p.base.Lookup(t.name); ok {
			d = p.options.outDType(old.DType)
		}
		return safetensors.Spec{Name: t.name, DType: d, Shape: t.replace.Value.Shape}
	}
	_, source, _ := p.base.Lookup(t.source)
	return safetensors.Spec{Name: t.name, DType: p.options.outDType(source.DType), Shape: source.Shape}
}

// isNew reports whether the output tensor has no place in the base's layout: a
// new name, or another shape.
func (p *Plan) isNew(t *target) bool {
	_, old, ok := p.base.Lookup(t.name)
	return !ok || t.replace != nil && !slices.Equal(old.Shape, t.replace.Value.Shape)
}

// keepShards plans one output file for each shard of the base, with the same
// order of tensors and the same header but for what changes.
func (p *Plan) keepShards() error {
	shards := p.base.Shards()
	appended := make([][]safetensors.Spec, len(shards))
	moved := map[string]bool{}
	for _, name := range p.targets.names {
		t := p.targets.byName[name]
		if !p.isNew(t) {
			continue
		}
		shard := len(shards) - 1
		if s, _, ok := p.base.Lookup(cmp.Or(t.source, t.name)); ok {
			shard = s
		}
		appended[shard] = append(appended[shard], p.spec(t))
		moved[name] = true
	}
	for i, s := range shards {
		header, err := s.File.Header().Edit(safetensors.Edit{
			DType:  func(t safetensors.Tensor) dtype.DType { return p.options.outDType(t.DType) },
			Remove: func(name string) bool { return moved[name] },
			Append: appended[i],
		})
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		if header == s.File.Header() && !p.touches(header) && p.base.Dir() != "" {
			p.files = append(p.files, outFile{name: s.Name, header: header, clone: s.File.Path(), size: s.File.Size()})
		} else if err := p.addFile(s.Name, header); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plan) touches(h *safetensors.Header) bool {
	return slices.ContainsFunc(h.Tensors(), func(t safetensors.Tensor) bool { return p.targets.byName[t.Name] != nil })
}

// reshard plans new shards of at most MaxShardBytes of tensors each, filled in
// the order of the base; a larger tensor gets a shard of its own.
func (p *Plan) reshard() error {
	var groups [][]safetensors.Spec
	room := int64(-1)
	add := func(s safetensors.Spec) {
		size := int64(s.DType.Bits())
		for _, d := range s.Shape {
			size *= int64(d)
		}
		size /= 8
		if size > room {
			groups, room = append(groups, nil), p.options.MaxShardBytes
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], s)
		room -= size
	}
	for _, shard := range p.base.Shards() {
		for _, t := range shard.File.Header().Tensors() {
			s := safetensors.Spec{Name: t.Name, DType: p.options.outDType(t.DType), Shape: t.Shape}
			if target := p.targets.byName[t.Name]; target != nil {
				s = p.spec(target)
			}
			add(s)
		}
	}
	for _, name := range p.targets.names {
		if _, _, ok := p.base.Lookup(name); !ok {
			add(p.spec(p.targets.byName[name]))
		}
	}
	for i, specs := range groups {
		header, err := safetensors.Build(specs, []safetensors.Pair{{Key: "format", Value: "pt"}})
		if err != nil {
			return err
		}
		name := "model.safetensors"
		if len(groups) > 1 {
			name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(groups))
		}
		if err := p.addFile(name, header); err != nil {
			return err
		}
	}
	return nil
}

// addFile plans a file of the tensors of header.
func (p *Plan) addFile(name string, header *safetensors.Header) error {
	f := outFile{name: name, header: header, size: header.DataStart()}
	f.segments = append(f.segments, segment{size: header.DataStart(), raw: header.Raw()})
	for _, t := range header.Tensors() {
		s, err := p.segment(t)
		if err != nil {
			return err
		}
		s.offset, s.size = header.DataStart()+t.Begin, t.End-t.Begin
		f.size = s.offset + s.size
		if s.size > 0 {
			f.segments = append(f.segments, s)
		}
	}
	p.files = append(p.files, f)
	return nil
}

// segment plans the bytes of one output tensor.
func (p *Plan) segment(out safetensors.Tensor) (segment, error) {
	t := p.targets.byName[out.Name]
	if t == nil {
		t = &target{name: out.Name, source: out.Name}
	}
	var in safetensors.Tensor
	var source []byte
	var from *origin
	if t.replace != nil {
		v := t.replace.Value
		in, source = safetensors.Tensor{Name: v.Name, DType: v.DType, Shape: v.Shape}, v.Bytes
	} else {
		var shard int
		shard, in, _ = p.base.Lookup(t.source)
		from = &origin{p.base.Shards()[shard].File, in}
		source = from.file.Bytes(in)
	}
	if len(t.updates)+len(t.biases)+len(t.rows) == 0 && in.DType == out.DType {
		return segment{raw: source, origin: from}, nil
	}
	if !in.DType.Float() || !out.DType.Float() {
		return segment{}, &rule.Unsupported{What: fmt.Sprintf("tensor %q of dtype %v", out.Name, in.DType), Hint: "deltas are added to float tensors; dequantize the base first"}
	}
	ch := newChange(out, in, source)
	if err := p.options.fillChange(ch, t, in.Shape); err != nil {
		return segment{}, err
	}
	if ch.adapted {
		p.changes = append(p.changes, ch)
	}
	return segment{change: ch, origin: from}, nil
}

// fillChange adds the terms, magnitude and rows of a target to its change.
func (o Options) fillChange(ch *change, t *target, shape []int) error {
	for _, u := range t.updates {
		if u.piece.Expert >= 0 && ch.planes == 1 && len(shape) == 3 {
			ch.split(shape)
		}
	}
	for _, u := range t.updates {
		ch.add(max(u.piece.Expert, 0), newTerm(u.update, u.piece, u.by.Weight))
		if u.update.Module.Magnitude != nil {
			if err := ch.addMagnitude(u); err != nil {
				return err
			}
		}
	}
	for _, b := range t.biases {
		ch.add(0, biasTerm(b))
	}
	for _, r := range t.rows {
		for i, row := range r.Indices {
			ch.replace(rowReplacement{row: row, values: r.Rows, from: i})
		}
	}
	if o.Rounding == Stochastic && ch.adapted && ch.out.DType != dtype.F64 {
		ch.random = newRoundingKey(o.Seed, ch.out.Name)
	}
	return nil
}

// one is the left factor of a bias: a [1, 1] matrix of 1.
var one = adapter.Tensor{Name: "1", DType: dtype.F32, Shape: []int{1, 1}, Bytes: []byte{0, 0, 0x80, 0x3f}}

// biasTerm is scaling·lora_B.bias as a term of a [1, out] plane.
func biasTerm(b weightedBias) term {
	n := b.from.Len
	return term{
		coefficient: b.by.Weight * b.module.Scaling() / b.module.Multiplicity, rank: 1,
		left:    factor{tensor: one, rowStride: 1, colStride: 1},
		right:   factor{tensor: *b.module.Bias, offset: b.from.First, rowStride: n * b.from.Step, colStride: b.from.Step},
		rowSpan: adapter.All(1), colSpan: b.to,
	}
}

// quantizedParts are names of tensors that stand beside or in the place of a
// weight that a quantization method stores, with the method.
var quantizedParts = []struct{ suffix, method string }{
	{".qweight", "GPTQ or AWQ"}, {".weight_scale_inv", "block-scaled FP8"}, {".weight_scale", "compressed-tensors or FP8"},
	{".weight_packed", "compressed-tensors"}, {".weight.absmax", "bitsandbytes 4 bit"}, {".SCB", "bitsandbytes 8 bit"}, {".weight_blocks", "MXFP4"},
}

// checkQuantized refuses tensors that stand beside codes of a quantization
// method, by the method's name.
func (ts *targets) checkQuantized() error {
	for _, name := range ts.names {
		if err := quantizedAt(ts.base, strings.TrimSuffix(name, ".weight")); err != nil {
			return err
		}
	}
	return nil
}

// quantizedModule is checkQuantized for the modules of adapters as they are
// named.
func quantizedModule(base adapter.View, adapters []Weighted) error {
	for _, w := range adapters {
		for _, m := range w.Modules {
			if err := quantizedAt(base, m.Path); err != nil {
				return err
			}
		}
	}
	return nil
}

func quantizedAt(base adapter.View, path string) error {
	for _, q := range quantizedParts {
		if _, _, ok := base.Lookup(path + q.suffix); ok {
			return quantizedError(base.Dir(), q.method)
		}
	}
	return nil
}

func quantizedError(file, method string) error {
	return &rule.Unsupported{File: file, What: fmt.Sprintf("a base quantized by %s", method),
		Hint: "merge into the 16-bit base and quantize the result"}
}
