// Package kind decodes `type:`-tagged sections of the configuration file.
//
// A Registry maps a type name ("rabbitmq", "mysql") to a config struct with
// defaults; a Decoder fills structs from a Node tree and reports every problem
// with file, line, column and YAML path. The same Decoder reads the rest of the
// file, so that all of it is equally strict.
//
// Struct tags understood by the Decoder:
//
//	yaml:"key"            the key; ",required" = must be given. Fields without it are not read, except that an
//	                      embedded struct gives its keys
//	format:"octal"        how the scalar is written: an entry of Decoder.Formats,
//	                      or "path": a file name, see Path
//	min:"1" max:"10"      inclusive bounds of numbers, in the unit of the field
//	oneof:"a b c"         the only values of a string
//	unless:"x"            on a blank field `_`: the key is known but refused as "not supported yet",
//	                      except with this very value
package kind
