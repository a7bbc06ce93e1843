package rule

// shardRules are the rules of a checkpoint that is split over several files.
var shardRules = []Rule{
	{"SH001", Fatal, "index is not strict JSON", "The index is a JSON object without repeated keys, in UTF-8.", "download the index again"},
	{"SH002", Fatal, "bad weight_map", "The index has a weight_map, an object of strings that is not empty.", "download the index again"},
	{"SH003", Fatal, "unsafe shard name", "A shard is named by a plain relative path that stays in the folder.", "do not use this checkpoint: its index points outside its folder"},
	{"SH004", Fatal, "shard missing", "Every shard that the index names is there.", "download the missing shard"},
	{"SH005", Fatal, "shard is no file", "A shard is a regular file whose name ends in .safetensors.", ""},
	{"SH006", Fatal, "tensor missing", "Every tensor of the index is in a shard.", "the shards and the index are of different versions: download them together"},
	{"SH007", Warning, "tensor not in the index", "Every tensor of a shard is in the index. Readers differ in whether they load it.", "the shards and the index are of different versions: download them together"},
	{"SH008", Fatal, "tensor twice", "No tensor is in two shards.", "remove the shard that does not belong"},
	{"SH009", Fatal, "tensor in another shard", "A tensor is in the shard that the index names.", "the shards and the index are of different versions: download them together"},
	{"SH010", Warning, "wrong total_size", "metadata.total_size is the number of tensor bytes.", ""},
	{"SH011", Warning, "total_size is no integer", "metadata.total_size is an integer.", ""},
	{"SH012", Warning, "shard numbers disagree", "Shards named k-of-n are n files with k from 1 to n.", "download the missing shards"},
	{"SH013", Warning, "two checkpoints in a folder", "A folder holds a single file or an index, not both.", "name the file or the index to choose"},
	{"SH015", Fatal, "index too big", "The index is at most 250 MB.", ""},
	{"SH016", Info, "mixed dtypes", "All floating-point tensors have one dtype.", ""},
	{"SH018", Warning, "shard out of place", "Every .safetensors file of the folder is named by the index, and none is another one by hard link.", ""},
}
