//! The layers a configuration is made of, lowest first: defaults, file, environment, flags.

use std::path::Path;

use figment::{
    Figment, Metadata, Profile, Provider,
    providers::{Format, Yaml},
    value::{Dict, Map, Value},
};

use super::{
    Source,
    error::{ConfigError, Problem},
    keys::{self, KEYS, Key, Kind},
    raw::{Count, Flag, RawConfig, Size, Text, Time},
};

/// One source of values, named so that messages and `--print-config` can say where a value came from.
struct Layer {
    origin: String,
    values: Dict,
}

impl Layer {
    fn one(origin: impl Into<String>, path: &str, value: impl Into<Value>) -> Self {
        Self {
            origin: origin.into(),
            values: figment::util::nest(path, value.into()).into_dict().unwrap_or_default(),
        }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// All layers of a [`Source`], merged, with every value's origin.
pub(crate) struct Layers {
    figment: Figment,
}

impl Layers {
    /// Reads and merges the layers; values are not looked at yet, names are.
    pub(crate) fn read(source: &Source) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let mut figment = Figment::new();
        for key in KEYS {
            figment = figment.merge(Layer::one("default", &key.path(), key.default));
        }
        if let Some(path) = &source.file {
            figment = figment.merge(file_layer(path, &mut problems)?);
        }
        // The short environment names mean different keys for different roles, so the role comes first.
        let env = section_env(source, &mut problems);
        let flags = flag_layers(source, &mut problems);
        let with_role = env.iter().chain(&flags).fold(figment.clone(), |figment, layer| figment.merge(layer));
        let role = with_role.extract_inner::<Text>("node.role").map(|role| role.0).unwrap_or_default();
        for layer in short_env(source, &role).iter().chain(&env).chain(&flags) {
            figment = figment.merge(layer);
        }
        let layers = Self { figment };
        layers.check_names(&mut problems);
        if problems.is_empty() { Ok(layers) } else { Err(ConfigError::new(problems)) }
    }

    /// The values as the raw structs, after each was checked against the kind and range of its key.
    pub(crate) fn extract(&self) -> Result<RawConfig, ConfigError> {
        let problems: Vec<Problem> = KEYS.iter().filter_map(|key| self.check_value(key)).collect();
        if !problems.is_empty() {
            return Err(ConfigError::new(problems));
        }
        self.figment.extract().map_err(|errors| {
            let each = errors.into_iter().map(|error| {
                let key = error.path.join(".");
                Problem { origin: self.origin(&key), key, text: error.kind.to_string() }
            });
            ConfigError::new(each.collect())
        })
    }

    /// Where the value of a key came from: `default`, the file, `environment NAME` or `flag --name`.
    pub(crate) fn origin(&self, path: &str) -> String {
        self.figment.find_metadata(path).map_or_else(|| "default".to_owned(), |meta| meta.name.to_string())
    }

    /// The value as text, as a user would write it.
    pub(crate) fn text(&self, path: &str) -> String {
        self.figment.extract_inner::<Text>(path).map(|text| text.0).unwrap_or_default()
    }

    fn check_names(&self, problems: &mut Vec<Problem>) {
        let sections = self.figment.data().unwrap_or_default();
        for (section, value) in sections.values().flatten() {
            let names = value.as_dict().into_iter().flat_map(|entries| entries.keys());
            if keys::SECTIONS.iter().all(|(name, _)| name != section) {
                problems.push(unknown_section(section, self.origin(section)));
                continue;
            }
            for path in names.map(|name| format!("{section}.{name}")) {
                if keys::find(&path).is_none() {
                    let origin = self.origin(&path);
                    problems.push(unknown_key(path, origin));
                }
            }
        }
    }

    fn check_value(&self, key: &Key) -> Option<Problem> {
        let path = key.path();
        let text = match key.kind {
            Kind::Text | Kind::Path => self.value::<Text>(&path).err(),
            Kind::Flag => self.value::<Flag>(&path).err(),
            Kind::Count(low, high) => match self.value::<Count>(&path) {
                Ok(Count(Some(n))) if n < low || n > high => {
                    Some(format!("{n} is not between {low} and {high}"))
                }
                Ok(Count(None)) if !key.default.is_empty() => Some("a whole number is needed".to_owned()),
                other => other.err(),
            },
            Kind::Size(low, high) => match self.value::<Size>(&path) {
                Ok(Size(n)) if n < low || n > high => {
                    Some(format!("{} is not between {} and {}", size(n), size(low), size(high)))
                }
                other => other.err(),
            },
            Kind::Time(low, high) => match self.value::<Time>(&path) {
                Ok(Time(t)) if t.as_millis() < u128::from(low) || t.as_millis() > u128::from(high) => Some(
                    format!("{} is not between {} and {}", span(t.as_millis() as u64), span(low), span(high)),
                ),
                other => other.err(),
            },
            Kind::Choice(words) => match self.value::<Text>(&path) {
                Ok(Text(word)) if !words.contains(&word.as_str()) => {
                    Some(format!("`{word}` is not one of {}", words.join(", ")))
                }
                other => other.err(),
            },
        };
        text.map(|text| Problem { origin: self.origin(&path), key: path, text })
    }

    fn value<'de, T: serde::Deserialize<'de>>(&self, path: &str) -> Result<T, String> {
        self.figment.extract_inner::<T>(path).map_err(|error| error.kind.to_string())
    }
}

/// A size as it is written in the documents: the largest unit that keeps it whole.
pub(crate) fn size(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let whole = units.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}

/// A time as it is written in the documents.
pub(crate) fn span(ms: u64) -> String {
    humantime::format_duration(std::time::Duration::from_millis(ms)).to_string().replace(' ', "")
}

fn unknown_section(section: &str, origin: String) -> Problem {
    let names: Vec<_> = keys::SECTIONS.iter().map(|(name, _)| *name).collect();
    let text = format!("there is no such section; the sections are {}", names.join(", "));
    Problem { origin, key: section.to_owned(), text }
}

fn unknown_key(path: String, origin: String) -> Problem {
    let text = match keys::suggest(&path) {
        Some(near) => format!("there is no such key; did you mean `{near}`?"),
        None => "there is no such key; `dfs-node --print-config` lists all".to_owned(),
    };
    Problem { origin, key: path, text }
}

/// The YAML file. Sections and keys that are written without a value (everything under them is commented out)
/// leave the defaults alone.
fn file_layer(path: &Path, problems: &mut Vec<Problem>) -> Result<Layer, ConfigError> {
    let origin = path.display().to_string();
    let problem = |text: String| Problem { origin: origin.clone(), key: String::new(), text };
    let text = std::fs::read_to_string(path).map_err(|error| problem(format!("cannot be read: {error}")))?;
    let data =
        Yaml::string(&text).data().map_err(|error| problem(format!("is not valid YAML: {}", error.kind)))?;
    let mut values = Dict::new();
    for (section, value) in data.into_values().flatten() {
        match value {
            Value::Empty(..) => {}
            Value::Dict(tag, entries) => {
                let set = entries.into_iter().filter(|(_, value)| !matches!(value, Value::Empty(..)));
                values.insert(section, Value::Dict(tag, set.collect()));
            }
            _ => {
                let text = "this is a section: it holds keys, not a value".to_owned();
                problems.push(Problem { origin: origin.clone(), key: section, text });
            }
        }
    }
    Ok(Layer { origin, values })
}

fn section_env(source: &Source, problems: &mut Vec<Problem>) -> Vec<Layer> {
    let mut layers = Vec::new();
    for (name, value) in &source.env {
        let Some((section, key)) = name.strip_prefix("DFS_").and_then(|rest| rest.split_once("__")) else {
            continue;
        };
        let path = format!("{}.{}", section.to_lowercase(), key.to_lowercase());
        let origin = format!("environment {name}");
        match keys::find(&path) {
            Some(_) => layers.push(Layer::one(origin, &path, value.as_str())),
            None => problems.push(unknown_key(path, origin)),
        }
    }
    layers
}

fn short_env(source: &Source, role: &str) -> Vec<Layer> {
    let mut layers = Vec::new();
    for (name, value) in &source.env {
        let Some((_, coordinator, datanode)) = keys::SHORT_ENV.iter().find(|(short, ..)| short == name)
        else {
            continue;
        };
        let path = if role == "datanode" { datanode } else { coordinator };
        if !path.is_empty() && !value.is_empty() {
            layers.push(Layer::one(format!("environment {name}"), path, value.as_str()));
        }
    }
    layers
}

fn flag_layers(source: &Source, problems: &mut Vec<Problem>) -> Vec<Layer> {
    let mut layers = Vec::new();
    for (flag, path, value) in &source.flags {
        let origin = format!("flag {flag}");
        match keys::find(path) {
            Some(_) => layers.push(Layer::one(origin, path, value.as_str())),
            None => problems.push(unknown_key(path.clone(), origin)),
        }
    }
    layers
}
