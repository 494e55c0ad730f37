//! The layers a configuration is made of, lowest first: defaults, file, environment, flags.

use std::{collections::BTreeSet, fmt, path::Path};

use figment::{
    Figment, Metadata, Profile, Provider,
    providers::{Format, Yaml},
    value::{Dict, Map, Value},
};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

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

/// All layers of a [`Source`], merged, with every value's origin, and what was found wrong while merging them.
pub(crate) struct Layers {
    figment: Figment,
    problems: Vec<Problem>,
}

/// What can be read of the values: those that are wrong are replaced by their defaults and named.
pub(crate) struct Extracted {
    pub(crate) raw: RawConfig,
    /// Everything wrong so far, with names and with values.
    pub(crate) problems: Vec<Problem>,
}

impl Layers {
    /// Reads and merges the layers; values are not looked at yet, names are.
    ///
    /// # Errors
    /// A file that cannot be read: nothing more can be said then.
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
        let mut layers = Self { figment, problems };
        layers.check_names();
        Ok(layers)
    }

    /// These layers, if nothing was wrong with their names.
    ///
    /// # Errors
    /// Every unknown section and key.
    pub(crate) fn named_well(self) -> Result<Self, ConfigError> {
        if self.problems.is_empty() { Ok(self) } else { Err(ConfigError::new(self.problems)) }
    }

    /// The values as the raw structs, each checked against the kind and range of its key.
    ///
    /// # Errors
    /// If even with defaults in place of what is wrong no configuration comes out.
    pub(crate) fn extract(&self) -> Result<Extracted, ConfigError> {
        let mut problems = self.problems.clone();
        // Only known keys are taken over: the others are among the problems already.
        let mut sound = Figment::new();
        for key in KEYS {
            let path = key.path();
            match self.check_value(key) {
                None => sound = sound.merge(self.value_layer(&path)),
                Some(problem) => {
                    sound = sound.merge(Layer::one("default", &path, key.default));
                    problems.push(problem);
                }
            }
        }
        match sound.extract() {
            Ok(raw) => Ok(Extracted { raw, problems }),
            Err(errors) => {
                problems.extend(errors.into_iter().map(|error| {
                    let key = error.path.join(".");
                    Problem { origin: self.origin(&key), key, text: error.kind.to_string() }
                }));
                Err(ConfigError::new(problems))
            }
        }
    }

    /// Where the value of a key came from: `default`, the file, `environment NAME` or `flag --name`.
    pub(crate) fn origin(&self, path: &str) -> String {
        self.figment.find_metadata(path).map_or_else(|| "default".to_owned(), |meta| meta.name.to_string())
    }

    /// The value as text, as a user would write it.
    pub(crate) fn text(&self, path: &str) -> String {
        self.figment.extract_inner::<Text>(path).map(|text| text.0).unwrap_or_default()
    }

    /// One value, as a layer of its own.
    fn value_layer(&self, path: &str) -> Layer {
        let value = self.figment.find_value(path).unwrap_or_else(|_| Value::from(""));
        Layer::one(self.origin(path), path, value)
    }

    fn check_names(&mut self) {
        let mut problems = Vec::new();
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
        self.problems.append(&mut problems);
    }

    fn check_value(&self, key: &Key) -> Option<Problem> {
        let path = key.path();
        let text = match key.kind {
            Kind::Text | Kind::Secret | Kind::Path => self.value::<Text>(&path).err(),
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
    // The parser lets the last of two equal keys win; a person who wrote both meant only one of them.
    if let Err(error) = Yaml::from_str::<NoDuplicates>(&text) {
        problems.push(problem(error.to_string()));
    }
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

/// Any YAML whose mappings name each key once.
struct NoDuplicates;

impl<'de> Deserialize<'de> for NoDuplicates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NoDuplicates)
    }
}

impl<'de> Visitor<'de> for NoDuplicates {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(Text(key)) = map.next_key()? {
            map.next_value::<Self>()?;
            if seen.contains(&key) {
                return Err(A::Error::custom(format_args!("`{key}` is there twice; keep one of them")));
            }
            seen.insert(key);
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_none<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}

fn section_env(source: &Source, problems: &mut Vec<Problem>) -> Vec<Layer> {
    let mut layers = Vec::new();
    for (name, value) in &source.env {
        let origin = format!("environment {name}");
        let Some((section, key)) = name.strip_prefix("DFS_").and_then(|rest| rest.split_once("__")) else {
            // Kubernetes announces a service that is called like one of our sections as an address in such a variable.
            let ours = keys::suggest_env(name).filter(|_| !value.contains("://"));
            problems.extend(ours.map(|meant| {
                let text = format!("there is no such variable; did you mean `{meant}`?");
                Problem { origin, key: String::new(), text }
            }));
            continue;
        };
        let path = format!("{}.{}", section.to_lowercase(), key.to_lowercase());
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
