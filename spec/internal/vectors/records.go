package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/record"
	"github.com/loratool/loratool/merge"
)

const (
	recordName = "base.record"
	mergedName = "merged.safetensors"
)

// A merging is a merge with a record: the files of a vector, and what the
// restored base has for a digest.
type merging struct {
	files  map[string][]byte
	sha256 string
	folder bool
}

// mergeRecorded merges the adapter of files into the file or folder base of
// them, which the vector then does without.
func mergeRecorded(files map[string][]byte, o merge.Options) (m merging, err error) {
	dir, err := os.MkdirTemp("", "vectors")
	if err != nil {
		return m, err
	}
	defer os.RemoveAll(dir)
	if err := writeFiles(dir, files); err != nil {
		return m, err
	}
	_, m.folder = files["base/model.safetensors"]
	from, to := "base.safetensors", mergedName
	if m.folder {
		from, to = "base", "merged"
	}
	base, err := checkpoint.Open(filepath.Join(dir, from), checkpoint.Options{})
	if err != nil {
		return m, err
	}
	defer base.Close()
	adapter, err := dialect.OpenPEFT(filepath.Join(dir, "adapter"))
	if err != nil {
		return m, err
	}
	defer adapter.Close()
	o.Record = filepath.Join(dir, recordName)
	if _, err := merge.Apply(context.Background(), filepath.Join(dir, to), base, []merge.Weighted{{Adapter: adapter.Adapter, Weight: 1}}, o); err != nil {
		return m, err
	}
	m.files = map[string][]byte{}
	for name, data := range files {
		if strings.HasPrefix(name, "adapter/") {
			m.files[name] = data
		} else if strings.HasSuffix(name, ".safetensors") {
			m.sha256 = sum(data)
		}
	}
	return m, readFiles(dir, m.files, recordName, to)
}

// readFiles reads files and folders into a set.
func readFiles(dir string, files map[string][]byte, names ...string) error {
	for _, name := range names {
		err := filepath.WalkDir(filepath.Join(dir, name), func(p string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(dir, p)
			if err != nil {
				return err
			}
			files[filepath.ToSlash(rel)], err = os.ReadFile(p)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// parts takes a record apart.
func parts(b []byte) (blobs []byte, head record.Head, err error) {
	r, err := record.NewReader(bytes.NewReader(b), int64(len(b)), recordName)
	if err != nil {
		return nil, head, err
	}
	at := binary.LittleEndian.Uint64(b[len(b)-56:])
	return bytes.Clone(b[:at]), r.Head, nil
}

// seal puts a head, as text, and a right trailer behind blobs. The head is not
// compressed: a frame of zstd with one raw block.
func seal(blobs []byte, head string) []byte {
	at, frame := len(blobs), rawFrame([]byte(head))
	return signed(append(bytes.Clone(blobs), frame...), at, len(frame), len(head))
}

// signed puts the trailer behind a record.
func signed(b []byte, at, n, raw int) []byte {
	for _, v := range []int{at, n, raw} {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	return resigned(append(b, zeros(32)...))
}

// resigned corrects the digest at the end of a record.
func resigned(b []byte) []byte {
	b = bytes.Clone(b[:len(b)-32])
	return append(b, digestOf(b)...)
}

// rawFrame is a frame of zstd (RFC 8878) whose one block is not compressed.
func rawFrame(b []byte) []byte {
	f := binary.LittleEndian.AppendUint32([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0}, uint32(len(b)))
	f = append(f, byte(len(b)<<3|1), byte(len(b)>>5), byte(len(b)>>13))
	return append(f, b...)
}

// forge changes the head or the blobs of a record and seals it again.
func forge(b []byte, change func(blobs []byte, h *record.Head)) ([]byte, error) {
	blobs, head, err := parts(b)
	if err != nil {
		return nil, err
	}
	change(blobs, &head)
	text, err := json.Marshal(&head)
	return seal(blobs, string(text)), err
}

// recordBases are merges of one module and more, as accepted vectors.
func recordBases() (vectors []vector, plainMerge merging, err error) {
	layer := folder(plain(), pt, pair(q, 2, 4, 3)...)
	few := bf16(q+".weight", -0.01, 0.0009765625, 3, 4)
	single := func(ts ...tensor) map[string][]byte { return map[string][]byte{"base.safetensors": st(pt, ts...)} }
	norm := bf16("model.norm.weight", 1, 0, 4)
	saved := folder(plain().with("modules_to_save", `["score"]`), pt, append(pair(q, 2, 4, 3), noise(prefix+"score.weight", 3, 20, 8))...)
	rows := folder(plain().with("trainable_token_indices", `{"embed_tokens":[3,1]}`), pt, append(pair(q, 2, 4, 3), bf16(prefix+"model.embed_tokens.token_adapter.trainable_tokens_delta", 1, 1, 2, 4))...)
	scaled := folder(plain().with("use_dora", "true"), pt, append(pair(q, 2, 4, 3), f32(prefix+q+".lora_magnitude_vector", 1, 1, 3))...)
	all := "RC001 RC002 RC003 RC004 RC005 RC006 RC007 RC008 RC009 RC010 RC011 RC012 RC013 RC014 RC015 RC016"
	for _, c := range []struct {
		name, rules, comment string
		files                map[string][]byte
		options              merge.Options
	}{
		{"record", all, "one tensor in BF16: several values of the base become each merged one", also(layer, single(few, norm)), merge.Options{}},
		{"record_folder", "RC006 RC011", "a folder with a file beside the weights", also(layer, base(`{"model_type":"llama"}`, few)), merge.Options{}},
		{"record_dtype", "RC013", "a base in F32, merged into BF16", also(layer, single(f32(q+".weight", -0.01, 0.003, 3, 4))), merge.Options{DType: dtype.BF16}},
		{"record_stochastic", "RC010 RC013", "rounded stochastically", also(layer, single(few)), merge.Options{Rounding: merge.Stochastic, Seed: 7}},
		{"record_magnitude", "RC016", "rows scaled by a DoRA magnitude", also(scaled, single(few)), merge.Options{}},
		{"record_replaced", "RC010 RC016", "a replaced tensor, whose bytes are coded in planes", also(saved, single(few, noise("score.weight", 2, 20, 8))), merge.Options{}},
		{"record_rows", "RC010 RC016", "replaced rows of an embedding", also(rows, single(few, bf16("model.embed_tokens.weight", 0, 1, 5, 4))), merge.Options{}},
	} {
		m, err := mergeRecorded(c.files, c.options)
		if err != nil {
			return nil, m, fmt.Errorf("%s: %w", c.name, err)
		}
		if c.name == "record" {
			plainMerge = m
		}
		v := vector{name: c.name, rules: c.rules, comment: c.comment, input: recordName, merged: mergedName, adapter: "adapter", sha256: m.sha256, files: m.files}
		if m.folder {
			v.merged = "merged"
		}
		vectors = append(vectors, v)
	}
	return vectors, plainMerge, nil
}

// noise makes a tensor of BF16 that looks like weights: random mantissas, few
// exponents.
func noise(name string, seed uint32, shape ...int) tensor {
	t := bf16(name, 0, 0, shape...)
	for i := 0; i < len(t.data); i += 2 {
		seed = seed*1664525 + 1013904223
		binary.LittleEndian.PutUint16(t.data[i:], uint16(seed>>16)&0x807f|0x3c00)
	}
	return t
}

// records are the vectors of the rules RC: records that the program wrote, and
// the same broken in one place and sealed again.
func records() ([]vector, error) {
	all, m, err := recordBases()
	if err != nil {
		return nil, err
	}
	original := m.files[recordName]
	blobs, head, err := parts(original)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	add := func(rule, name, comment string, changed []byte, others map[string][]byte) {
		all = append(all, vector{name: name, expect: "reject", rules: rule, comment: comment, input: recordName, merged: mergedName, adapter: "adapter",
			files: also(m.files, map[string][]byte{recordName: changed}, others)})
	}
	var failed error
	forged := func(rule, name, comment string, change func(blobs []byte, h *record.Head)) {
		b, err := forge(original, change)
		if err != nil {
			failed = err
		}
		add(rule, name, comment, b, nil)
	}
	at := func(i int, x byte) []byte {
		b := bytes.Clone(original)
		b[i] ^= x
		return b
	}
	add("RC001", "version", "the eighth byte is 2", resigned(at(7, 3)), nil)
	add("RC001", "short", "shorter than the first bytes and the trailer", original[:60], nil)
	add("RC002", "bit", "one bit of a blob is flipped", at(12, 1), nil)
	add("RC003", "overlap", "the head ends one byte before the trailer", resigned(at(len(original)-48, 1)), nil)
	add("RC004", "key_twice", "a head with a repeated key", seal(blobs, `{"version":1,`+string(text[1:])), nil)
	add("RC004", "unknown", "a head with an unknown member", seal(blobs, `{"other":1,`+string(text[1:])), nil)
	add("RC004", "case", "a member in upper case", seal(blobs, strings.Replace(string(text), `"version"`, `"Version"`, 1)), nil)
	add("RC008", "two_frames", "a head of two frames", signed(append(append(bytes.Clone(blobs), rawFrame(text)...), rawFrame(nil)...), len(blobs), len(rawFrame(text))+len(rawFrame(nil)), len(text)), nil)
	add("RC005", "head", "a head of 64 MiB and one byte", signed(append(bytes.Clone(blobs), rawFrame(text)...), len(blobs), len(rawFrame(text)), 64<<20+1), nil)
	forged("RC005", "frame", "a header that is said to be a thousand million bytes", func(_ []byte, h *record.Head) { h.Base.Shards[0].Raw = 1e9 })
	forged("RC006", "parent", "a file of the base outside its folder", func(_ []byte, h *record.Head) { h.Base.Shards[0].Name = "../base.safetensors" })
	forged("RC006", "twice", "a tensor with two entries of one kind", func(_ []byte, h *record.Head) { h.Tensors = append(h.Tensors, h.Tensors[0]) })
	forged("RC006", "kind", "an entry of a kind that there is not", func(_ []byte, h *record.Head) { h.Tensors[0].Kind = "other" })
	forged("RC007", "into_head", "a blob that reaches into the head", func(b []byte, h *record.Head) { h.Merged[0].Pieces.At = int64(len(b)) - 7 })
	forged("RC007", "before", "a blob over the first eight bytes", func(_ []byte, h *record.Head) { h.Tensors[0].Blocks.At = 7 })
	forged("RC008", "shorter", "a header that is one byte longer than is said", func(_ []byte, h *record.Head) { h.Base.Shards[0].Raw-- })
	forged("RC008", "no_frame", "a header that is no frame", func(_ []byte, h *record.Head) { h.Base.Shards[0].Header.At++; h.Base.Shards[0].Header.Len-- })
	forged("RC009", "sum", "the blocks are one byte shorter than their data", func(b []byte, h *record.Head) { b[h.Tensors[0].Blocks.At]-- })
	forged("RC009", "missing", "a block without a length", func(_ []byte, h *record.Head) { h.Tensors[0].Blocks.Len-- })
	forged("RC010", "padding", "the bits after the last index are not zero", func(b []byte, h *record.Head) { b[h.Tensors[0].Data.At+h.Tensors[0].Data.Len-1] |= 0x80 })
	forged("RC014", "index", "another index: another base", func(b []byte, h *record.Head) { b[h.Tensors[0].Data.At] ^= 1 })
	forged("RC014", "digest", "the base has another digest", func(_ []byte, h *record.Head) { h.Base.Shards[0].Digest = strings.Repeat("0", 64) })
	forged("RC011", "bytes", "the merged file has another size", func(_ []byte, h *record.Head) { h.Merged[0].Bytes++ })
	forged("RC012", "weight", "the adapter was merged with another weight", func(_ []byte, h *record.Head) { h.Adapters[0].Weight = 2 })
	forged("RC012", "file", "another adapter was merged", func(_ []byte, h *record.Head) { h.Adapters[0].Files[0].SHA256 = strings.Repeat("0", 64) })
	forged("RC015", "size", "a header for a file two bytes shorter", func(_ []byte, h *record.Head) { h.Base.Shards[0].Bytes += 2 })
	forged("RC016", "nothing", "nothing about a tensor that was changed", func(_ []byte, h *record.Head) { h.Tensors = nil })
	forged("RC016", "unchanged", "an entry for a tensor that was not changed", func(_ []byte, h *record.Head) {
		t := h.Tensors[0]
		t.Name = "model.norm.weight"
		h.Tensors = append(h.Tensors, t)
	})
	changed := bytes.Clone(m.files[mergedName])
	changed[len(changed)-1] ^= 1
	add("RC011", "changed", "one bit of the merged file is flipped", original, map[string][]byte{mergedName: changed})
	wide, err := noPreimage()
	if err != nil {
		return nil, err
	}
	all = append(all, vector{name: "impossible", expect: "reject", rules: "RC013", comment: "a base in BF16 merged into F32, and the first element is what no value of the base becomes",
		input: recordName, merged: mergedName, adapter: "adapter", files: wide})
	return all, failed
}

// noPreimage merges a base of BF16 into F32 and gives the first merged element
// the next value, which no value of the base becomes. The sums of the merged
// file are made anew.
func noPreimage() (map[string][]byte, error) {
	files := also(folder(plain(), pt, pair(q, 2, 4, 3)...), map[string][]byte{"base.safetensors": st(pt, bf16(q+".weight", -1, 0.5, 3, 4))})
	m, err := mergeRecorded(files, merge.Options{DType: dtype.F32})
	if err != nil {
		return nil, err
	}
	merged := m.files[mergedName]
	merged[8+binary.LittleEndian.Uint64(merged)] ^= 1
	sums := []record.Sum{record.SumPiece(merged)}
	m.files[recordName], err = forge(m.files[recordName], func(blobs []byte, h *record.Head) {
		copy(blobs[h.Merged[0].Pieces.At:], record.Join(sums))
		h.Merged[0].Digest = record.Digest(sums)
	})
	return m.files, err
}
