package main

import "strings"

const (
	shard1 = "model-00001-of-00002.safetensors"
	shard2 = "model-00002-of-00002.safetensors"
	index  = "base/model.safetensors.index.json"
)

func mapping(total string, pairs ...string) []byte {
	var members []string
	for i := 0; i < len(pairs); i += 2 {
		members = append(members, quoted(pairs[i])+":"+quoted(pairs[i+1]))
	}
	return []byte(`{"metadata":{"total_size":` + total + `},"weight_map":{` + strings.Join(members, ",") + "}}")
}

// sharded is a checkpoint of two shards, with the index given.
func sharded(ix []byte) map[string][]byte {
	return map[string][]byte{index: ix, "base/" + shard1: st(pt, f32("a", 1, 1, 2)), "base/" + shard2: st(pt, f32("b", 1, 1, 2))}
}

func without(files map[string][]byte, name string) map[string][]byte {
	delete(files, name)
	return files
}

// shards are the vectors of the rules SH.
func shards() []vector {
	good := mapping("16", "a", shard1, "b", shard2)
	reject := func(rule, name, comment string, files map[string][]byte) vector {
		return vector{name: name, expect: "reject", rules: rule, input: "base", comment: comment, files: files}
	}
	warn := func(rule, name, comment string, files map[string][]byte) vector {
		return vector{name: rule + "_" + name, warn: rule, input: "base", comment: comment, files: files}
	}
	unsafe := func(name, shard, comment string) vector {
		return reject("SH003", name, comment, map[string][]byte{index: mapping("8", "a", shard), "base/" + shard1: st(pt, f32("a", 1, 1, 2))})
	}
	return []vector{
		{name: "sharded", input: "base", comment: "two shards with an index", files: sharded(good),
			rules: "SH001 SH002 SH003 SH004 SH005 SH006 SH007 SH008 SH009 SH010 SH011 SH012 SH013 SH015 SH016 SH018"},
		reject("SH001", "key_twice", "an index that maps a tensor twice", sharded(mapping("16", "a", shard1, "a", shard1, "b", shard2))),
		reject("SH002", "no_map", "an index without a weight_map", sharded([]byte(`{"metadata":{"total_size":16}}`))),
		unsafe("parent", "../secret.safetensors", "a shard outside the folder"),
		unsafe("absolute", "/etc/secret.safetensors", "a shard by absolute path"),
		unsafe("scheme", "https://example.org/a.safetensors", "a shard by URL"),
		reject("SH004", "shard_missing", "the second shard is not there", without(sharded(good), "base/"+shard2)),
		reject("SH005", "folder", "the second shard is a folder", also(without(sharded(good), "base/"+shard2), map[string][]byte{"base/" + shard2 + "/README": []byte("a folder\n")})),
		reject("SH006", "tensor_missing", "the index maps a tensor that no shard has", sharded(mapping("16", "a", shard1, "b", shard2, "c", shard2))),
		warn("SH007", "not_mapped", "a tensor that the index does not map", also(sharded(mapping("16", "a", shard1, "b", shard2)), map[string][]byte{
			"base/" + shard2: st(pt, f32("b", 1, 1, 1), f32("c", 1, 1, 1))})),
		reject("SH008", "twice", "a tensor in both shards", also(sharded(good), map[string][]byte{"base/" + shard2: st(pt, f32("b", 1, 1, 2), f32("a", 1, 1, 2))})),
		reject("SH009", "swapped", "a tensor in the other shard", also(sharded(mapping("24", "a", shard1, "b", shard1, "c", shard2)), map[string][]byte{
			"base/" + shard2: st(pt, f32("b", 1, 1, 2), f32("c", 1, 1, 2))})),
		warn("SH010", "total", "a total_size that is too small", sharded(mapping("15", "a", shard1, "b", shard2))),
		warn("SH011", "total_fraction", "a total_size with a fraction", sharded(mapping("16.0", "a", shard1, "b", shard2))),
		warn("SH012", "three", "two shards of three", map[string][]byte{index: mapping("16", "a", "model-00001-of-00003.safetensors", "b", "model-00002-of-00003.safetensors"),
			"base/model-00001-of-00003.safetensors": st(pt, f32("a", 1, 1, 2)), "base/model-00002-of-00003.safetensors": st(pt, f32("b", 1, 1, 2))}),
		warn("SH013", "single", "a single file beside the index", also(sharded(good), map[string][]byte{"base/model.safetensors": st(pt, f32("a", 1, 1, 2))})),
		{name: "too_big", expect: "reject", rules: "SH015", input: "base", comment: "an index of 250,000,001 bytes", extend: index + " 250000001", files: sharded(good)},
		warn("SH016", "mixed", "shards of two dtypes", also(sharded(mapping("12", "a", shard1, "b", shard2)), map[string][]byte{"base/" + shard2: st(pt, bf16("b", 1, 1, 2))})),
		warn("SH018", "stray", "a file that the index does not name", also(sharded(good), map[string][]byte{"base/extra.safetensors": st(pt, f32("c", 1, 1, 2))})),
	}
}
