package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/internal/publish"
	"github.com/loratool/loratool/train/internal/backend"
	"github.com/loratool/loratool/train/internal/model"
)

// stateKey is the entry of the header's metadata that describes a state.
const stateKey = "loratool_training"

// stateVersion changes when the same steps give other bits, such as by another
// order of a sum: a state of before would not go on as it began. So it does when
// a state says more.
const stateVersion = 4

// An identity says what a state belongs to: only a run of the same options,
// base and samples goes on with the same bits. Of the base it has the weights
// and how config.json has them used.
type identity struct {
	Version int         `json:"version"`
	Options Options     `json:"options"`
	Base    string      `json:"base"`
	Decoder *model.Desc `json:"decoder"`
	Data    string      `json:"data"`
}

// A stamp is what the metadata of a state holds.
type stamp struct {
	identity
	Step   int   `json:"step"`
	Steps  int   `json:"steps"`
	Tokens int64 `json:"tokens"`
}

func identify(t *Trainer) identity {
	o := t.o
	o.Workers, o.StopAt, o.SaveEvery, o.EvalEvery = 0, 0, 0, 0 // these do not change the result
	return identity{stateVersion, o, fingerprint(t.base, t.o.Workers), t.m.Desc, digest(t.samples)}
}

// parts returns the matrices of the state by name.
func (t *Trainer) parts() map[string]backend.Mat {
	all := map[string]backend.Mat{}
	for i, p := range t.m.Params() {
		all[p.Name+".value"], all[p.Name+".m"], all[p.Name+".v"] = p.Value, t.opt.moments[i].m, t.opt.moments[i].v
	}
	return all
}

// SaveState writes the state of the run to a safetensors file, in place of an
// older one, complete or not at all.
func (t *Trainer) SaveState(path string) error {
	f, err := publish.CreateFile(path, true)
	if err != nil {
		return err
	}
	defer f.Abort()
	var list []safetensors.NamedData
	parts := t.parts()
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		list = append(list, t.stored(name, parts[name]))
	}
	text, err := json.Marshal(stamp{t.identity, t.step, t.steps, t.tokens})
	if err != nil {
		return err
	}
	if err := safetensors.Write(f.Handle(), list, map[string]string{stateKey: string(text)}); err != nil {
		return publish.Explain(err, filepath.Dir(path), -1)
	}
	return f.Commit()
}

// stored returns a matrix as a float32 tensor.
func (t *Trainer) stored(name string, m backend.Mat) safetensors.NamedData {
	values := make([]float32, m.Rows*m.Cols)
	t.m.Backend().Read(values, m)
	raw := make([]byte, 4*len(values))
	dtype.F32.Encode32(raw, values)
	return safetensors.NamedData{Name: name, DType: dtype.F32, Shape: []int{m.Rows, m.Cols}, Data: raw}
}

// Resume takes up the state of a file that SaveState wrote for a run with the
// same options, base and samples.
func (t *Trainer) Resume(path string) error {
	f, err := safetensors.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var s stamp
	found := false
	for _, p := range f.Header().Metadata() {
		if p.Key == stateKey {
			found = true
			if err := json.Unmarshal([]byte(p.Value), &s); err != nil {
				return fmt.Errorf("%s: state of a training: %w", path, err)
			}
		}
	}
	if !found {
		return fmt.Errorf("%s is not the state of a training", path)
	}
	if err := t.identity.matches(s.identity); err != nil {
		return fmt.Errorf("%s cannot be resumed: %w", path, err)
	}
	if s.Step < 0 || s.Step > t.steps || s.Steps != t.steps {
		return fmt.Errorf("%s: step %d of %d, this run has %d", path, s.Step, s.Steps, t.steps)
	}
	if err := guarded(func() error { return t.restore(f) }); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	t.step, t.tokens = s.Step, s.Tokens
	t.opt.at(s.Step)
	return nil
}

// matches says what differs.
func (i identity) matches(o identity) error {
	switch {
	case i.Version != o.Version:
		return fmt.Errorf("it has version %d, expected %d", o.Version, i.Version)
	case i.Base != o.Base:
		return errors.New("it belongs to another base")
	case !reflect.DeepEqual(i.Decoder, o.Decoder):
		return errors.New("config.json of the base has changed since")
	case i.Data != o.Data:
		return errors.New("it was trained on other samples")
	case !reflect.DeepEqual(i.Options, o.Options):
		return fmt.Errorf("its options differ: %s", firstDifference(reflect.ValueOf(i.Options), reflect.ValueOf(o.Options)))
	}
	return nil
}

// firstDifference names a field of two option structs that differs.
func firstDifference(now, then reflect.Value) string {
	for i := range now.NumField() {
		a, b := now.Field(i), then.Field(i)
		if reflect.DeepEqual(a.Interface(), b.Interface()) {
			continue
		}
		if a.Kind() == reflect.Struct {
			return firstDifference(a, b)
		}
		return fmt.Sprintf("%s is %v, was %v", now.Type().Field(i).Name, a, b)
	}
	return ""
}

func (t *Trainer) restore(f *safetensors.File) error {
	parts := t.parts()
	tensors := f.Header().Tensors()
	if len(tensors) != len(parts) {
		return fmt.Errorf("%d tensors, expected %d", len(tensors), len(parts))
	}
	for _, s := range tensors {
		m, ok := parts[s.Name]
		if !ok || s.DType != dtype.F32 || !slices.Equal(s.Shape, []int{m.Rows, m.Cols}) {
			return fmt.Errorf("tensor %q of shape %v does not belong to this run", s.Name, s.Shape)
		}
		values := make([]float32, m.Rows*m.Cols)
		dtype.F32.Decode32(values, f.Bytes(s))
		t.m.Backend().Write(m, values)
	}
	return nil
}
