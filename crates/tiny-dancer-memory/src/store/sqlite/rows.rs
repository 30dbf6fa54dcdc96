//! Entries and decisions as rows.

use super::super::Vectors;
use crate::record::{Draws, Entry, LogEntry, RequestId, Served, Tokens, Usage, Verdict, VerdictSource};
use rusqlite::types::{FromSql, Type, ValueRef};
use rusqlite::{Connection, Error, OptionalExtension, Result, Row, Rows, params};
use serde_json::{Value, json};
use std::str::FromStr;
use tiny_dancer_core::budget::{AccountState, HeldTicket, PacingState, Ticket, TicketState};
use tiny_dancer_core::coin::Draw;
use tiny_dancer_core::{Metadata, Thresholds};

pub(super) fn meta<T: FromSql>(connection: &Connection, name: &str) -> Result<Option<T>> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

pub(super) fn vectors(connection: &Connection) -> Result<Option<Vectors>> {
    let dimensions = meta::<i64>(connection, "dimensions")?;
    let embedder = meta(connection, "embedder")?;
    Ok(dimensions.map(|dimensions| Vectors { embedder, dimensions: dimensions as usize }))
}

pub(super) fn set_vectors(connection: &Connection, vectors: &Vectors) -> Result<()> {
    let mut set = connection.prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?;
    set.execute(params!["dimensions", vectors.dimensions as i64])?;
    match &vectors.embedder {
        Some(embedder) => set.execute(params!["embedder", embedder])?,
        None => connection.execute("DELETE FROM meta WHERE name = 'embedder'", [])?,
    };
    Ok(())
}

pub(super) fn remember(connection: &Connection, entry: &Entry) -> Result<()> {
    // The verdict of a row that is replaced goes with it.
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO entries (id, created_at, tenant, user, metadata, prompt, embedding)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            entry.id.as_bytes(),
            entry.created_at,
            entry.tenant,
            entry.user,
            (!entry.metadata.is_empty()).then(|| json!(entry.metadata).to_string()),
            entry.prompt,
            bytes(&entry.embedding),
        ])?;
    let row = connection.last_insert_rowid();
    entry.verdict.as_ref().map_or(Ok(()), |verdict| set_verdict(connection, row, verdict))
}

fn bytes(embedding: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; size_of_val(embedding)];
    for (bytes, x) in bytes.as_chunks_mut().0.iter_mut().zip(embedding) {
        *bytes = x.to_le_bytes();
    }
    bytes
}

fn set_verdict(connection: &Connection, row: i64, verdict: &Verdict) -> Result<()> {
    let Verdict { lightweight, powerful, source, at } = verdict;
    connection
        .prepare_cached("INSERT OR REPLACE INTO verdicts VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![row, lightweight, powerful, source.name(), at])
        .map(drop)
}

pub(super) fn judge(connection: &Connection, id: RequestId, verdict: &Verdict) -> Result<()> {
    let stored = |sql| {
        let mut stored = connection.prepare_cached(sql)?;
        let row = stored.query_row([id.as_bytes()], |row| {
            let mut columns = Columns(row, 0);
            Ok((columns.next::<i64>()?, columns.verdict()?))
        });
        // A row without a verdict that supersedes the new one.
        Ok::<_, Error>(
            row.optional()?.filter(|(_, known)| known.is_none_or(|known| verdict.supersedes(&known))),
        )
    };
    let entry = "SELECT entry, source, lightweight, powerful, at FROM entries LEFT JOIN verdicts USING (entry) WHERE id = ?1";
    if let Some((row, _)) = stored(entry)? {
        set_verdict(connection, row, verdict)?;
    }
    if let Some((row, _)) =
        stored("SELECT entry, source, lightweight, powerful, verdict_at FROM log WHERE id = ?1")?
    {
        let Verdict { lightweight, powerful, source, at } = verdict;
        connection
            .prepare_cached("UPDATE log SET lightweight = ?2, powerful = ?3, source = ?4, verdict_at = ?5 WHERE entry = ?1")?
            .execute(params![row, lightweight, powerful, source.name(), at])?;
    }
    Ok(())
}

pub(super) fn log(connection: &Connection, entry: &LogEntry) -> Result<()> {
    let LogEntry { draws, served, verdict, thresholds, ticket, .. } = entry;
    let probability = |draw: Option<Draw>| draw.map(|draw| draw.probability);
    let happened = |draw: Option<Draw>| draw.map(|draw| draw.happened);
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO log (id, at, tenant, user, conversation, model_version, embedder, mode, confidence,
                uncertainty, confidence_threshold, max_uncertainty, reason, decided, number, explore_probability, explore,
                shadow_probability, shadow, judge_probability, judge, audit_probability, audit, lightweight, powerful, source,
                verdict_at, slot, generation, found_worse)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,
                ?24, ?25, ?26, ?27, ?28, ?29, ?30)",
        )?
        .execute(params![
            entry.id.as_bytes(),
            entry.at,
            entry.tenant,
            entry.user,
            entry.conversation,
            entry.model_version,
            entry.embedder,
            entry.mode,
            entry.confidence,
            entry.uncertainty,
            thresholds.confidence_threshold,
            thresholds.max_uncertainty,
            entry.reason.name(),
            entry.decided.name(),
            entry.number as i64,
            probability(draws.explore),
            happened(draws.explore),
            probability(draws.shadow),
            happened(draws.shadow),
            probability(draws.judge),
            happened(draws.judge),
            probability(draws.audit),
            happened(draws.audit),
            verdict.map(|verdict| verdict.lightweight),
            verdict.and_then(|verdict| verdict.powerful),
            verdict.map(|verdict| verdict.source.name()),
            verdict.and_then(|verdict| verdict.at),
            ticket.map(|ticket| ticket.slot),
            ticket.map(|ticket| ticket.generation as i64),
            entry.found_worse,
        ])?;
    served.as_ref().map_or(Ok(()), |served| serve(connection, entry.id, served))
}

pub(super) fn serve(connection: &Connection, id: RequestId, served: &Served) -> Result<()> {
    let usage = |Usage { model, tokens: Tokens { input, cached_input, output } }: &Usage| json!({ "model": model, "input": input, "cached_input": cached_input, "output": output });
    let audit = served.draws.audit;
    connection
        .prepare_cached(
            "UPDATE log SET served = ?2, usage = ?3, price_version = ?4, judge_name = ?5, audit_probability = ?6,
                audit = ?7 WHERE id = ?1",
        )?
        .execute(params![
            id.as_bytes(),
            served.model.name(),
            served.usage.iter().map(usage).collect::<Value>().to_string(),
            served.price_version,
            served.judge,
            audit.map(|draw| draw.probability),
            audit.map(|draw| draw.happened),
        ])
        .map(drop)
}

const ENTRIES: &str =
    "SELECT id, created_at, tenant, user, metadata, prompt, embedding, source, lightweight, powerful, at
    FROM entries LEFT JOIN verdicts USING (entry)";

pub(super) fn entries(connection: &Connection, each: &mut dyn FnMut(Entry)) -> Result<()> {
    let dimensions = vectors(connection)?.map_or(0, |vectors| vectors.dimensions);
    let mut select = connection.prepare_cached(&format!("{ENTRIES} ORDER BY created_at, id"))?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        each(read_entry(row, dimensions)?);
    }
    Ok(())
}

pub(super) fn entry(connection: &Connection, id: RequestId) -> Result<Option<Entry>> {
    let dimensions = vectors(connection)?.map_or(0, |vectors| vectors.dimensions);
    let mut select = connection.prepare_cached(&format!("{ENTRIES} WHERE id = ?1"))?;
    select.query_row([id.as_bytes()], |row| read_entry(row, dimensions)).optional()
}

fn read_entry(row: &Row<'_>, dimensions: usize) -> Result<Entry> {
    let mut columns = Columns(row, 0);
    Ok(Entry {
        id: columns.id()?,
        created_at: columns.next()?,
        tenant: columns.next()?,
        user: columns.next()?,
        metadata: columns.json::<Metadata>()?.unwrap_or_default(),
        prompt: columns.next()?,
        embedding: columns.embedding(dimensions)?,
        verdict: columns.verdict()?,
    })
}

const LOG: &str = "SELECT id, at, tenant, user, conversation, model_version, embedder, mode, confidence, uncertainty,
    confidence_threshold, max_uncertainty, reason, decided, number, explore_probability, explore, shadow_probability, shadow,
    judge_probability, judge, audit_probability, audit, served, usage, price_version, judge_name, source, lightweight, powerful,
    verdict_at, slot, generation, found_worse FROM log";

pub(super) fn settle(connection: &Connection, id: RequestId, worse: bool) -> Result<()> {
    connection
        .prepare_cached("UPDATE log SET found_worse = max(ifnull(found_worse, 0), ?2) WHERE id = ?1")?
        .execute(params![id.as_bytes(), worse])
        .map(drop)
}

pub(super) fn logs(connection: &Connection, each: &mut dyn FnMut(LogEntry)) -> Result<()> {
    let mut select = connection.prepare_cached(&format!("{LOG} ORDER BY at, id"))?;
    read_logs(select.query([])?, each)
}

pub(super) fn compared(connection: &Connection, since: i64, each: &mut dyn FnMut(LogEntry)) -> Result<()> {
    // The second condition is that of the index.
    let which = format!("{LOG} WHERE at >= ?1 AND judge_name IS NOT NULL ORDER BY at, id");
    read_logs(connection.prepare_cached(&which)?.query([since])?, each)
}

fn read_logs(mut rows: Rows<'_>, each: &mut dyn FnMut(LogEntry)) -> Result<()> {
    while let Some(row) = rows.next()? {
        each(read_log(row)?);
    }
    Ok(())
}

pub(super) fn logged(connection: &Connection, id: RequestId) -> Result<Option<LogEntry>> {
    connection
        .prepare_cached(&format!("{LOG} WHERE id = ?1"))?
        .query_row([id.as_bytes()], read_log)
        .optional()
}

pub(super) fn ticketed(connection: &Connection, generation: u64) -> Result<Option<LogEntry>> {
    // The second condition is that of the index.
    connection
        .prepare_cached(&format!("{LOG} WHERE generation = ?1 AND generation > 0"))?
        .query_row([generation as i64], read_log)
        .optional()
}

fn read_log(row: &Row<'_>) -> Result<LogEntry> {
    let mut columns = Columns(row, 0);
    let mut entry = LogEntry {
        id: columns.id()?,
        at: columns.next()?,
        tenant: columns.next()?,
        user: columns.next()?,
        conversation: columns.next()?,
        model_version: columns.next()?,
        embedder: columns.next()?,
        mode: columns.next()?,
        confidence: columns.float()?,
        uncertainty: columns.float()?,
        thresholds: Thresholds { confidence_threshold: columns.float()?, max_uncertainty: columns.float()? },
        reason: columns.name()?,
        decided: columns.name()?,
        number: columns.next::<i64>()? as u64,
        draws: Draws {
            explore: columns.draw()?,
            shadow: columns.draw()?,
            judge: columns.draw()?,
            audit: columns.draw()?,
        },
        ticket: None,
        found_worse: None,
        served: None,
        verdict: None,
    };
    if let Some(model) = columns.optional_name()? {
        let usage = columns.json::<Vec<Value>>()?.unwrap_or_default();
        let usage = usage.iter().map(|usage| {
            let number = |key| usage[key].as_u64();
            let tokens = Tokens {
                input: number("input")?,
                cached_input: number("cached_input")?,
                output: number("output")?,
            };
            Some(Usage { model: usage["model"].as_str()?.to_owned(), tokens })
        });
        let Some(usage) = usage.collect() else {
            return Err(columns.invalid("usage without a model or a number of tokens".into()));
        };
        let draws = Draws { audit: entry.draws.audit, ..Draws::default() };
        entry.served =
            Some(Served { model, usage, price_version: columns.next()?, judge: columns.next()?, draws });
    } else {
        columns.1 += 3;
    }
    entry.verdict = columns.verdict()?;
    let (slot, generation) = (columns.next::<Option<u32>>()?, columns.next::<Option<i64>>()?);
    entry.ticket = slot
        .zip(generation)
        .zip(entry.draws.judge)
        .map(|((slot, generation), judge)| Ticket::new(judge, slot, generation as u64, entry.confidence));
    entry.found_worse = columns.next()?;
    Ok(entry)
}

/// The bytes of a ticket in an account's row.
const TICKET: usize = 21;

/// Added to the state of a ticket that was drawn by chance.
const SAMPLED: u8 = 4;

pub(super) fn set_account(connection: &Connection, state: &AccountState) -> Result<()> {
    let AccountState { delta, least_judge_rate, entered, pacing, tickets, .. } = state;
    let PacingState { boldness, worse, predicted } = pacing;
    let mut bytes = Vec::with_capacity(TICKET * tickets.len());
    for HeldTicket { slot, generation, state, sampled, deadline } in tickets {
        bytes.extend(slot.to_le_bytes());
        bytes.extend(generation.to_le_bytes());
        bytes.extend(deadline.to_le_bytes());
        let state = match state {
            TicketState::Pending => 0,
            TicketState::Good => 1,
            TicketState::Worse => 2,
        };
        bytes.push(state + if *sampled { SAMPLED } else { 0 });
    }
    let number = |value: u64| value as i64;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO account VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute(params![
            delta,
            least_judge_rate,
            number(state.answered),
            number(state.certain),
            number(state.sampled),
            entered,
            number(state.next_generation),
            number(state.judged),
            number(state.worse),
            number(state.expired),
            boldness,
            worse,
            predicted,
            bytes,
        ])
        .map(drop)
}

pub(super) fn account(connection: &Connection) -> Result<Option<AccountState>> {
    let read = |row: &Row<'_>| {
        let mut columns = Columns(row, 0);
        Ok(AccountState {
            delta: columns.next()?,
            least_judge_rate: columns.next()?,
            answered: columns.number()?,
            certain: columns.number()?,
            sampled: columns.number()?,
            entered: columns.next()?,
            next_generation: columns.number()?,
            judged: columns.number()?,
            worse: columns.number()?,
            expired: columns.number()?,
            pacing: PacingState {
                boldness: columns.float()?,
                worse: columns.float()?,
                predicted: columns.float()?,
            },
            tickets: columns.tickets()?,
        })
    };
    connection
        .prepare_cached(
            "SELECT delta, least_judge_rate, answered, certain, sampled, entered, next_generation, judged, worse, expired,
                boldness, worse_losses, predicted_losses, tickets FROM account",
        )?
        .query_row([], read)
        .optional()
}

/// The columns of a row, one after the other.
struct Columns<'a>(&'a Row<'a>, usize);

impl<'a> Columns<'a> {
    fn next<T: FromSql>(&mut self) -> Result<T> {
        self.1 += 1;
        self.0.get(self.1 - 1)
    }

    fn raw(&mut self) -> Result<ValueRef<'a>> {
        self.1 += 1;
        self.0.get_ref(self.1 - 1)
    }

    /// The last column has a value of the right type that means nothing.
    fn invalid(&self, cause: Box<dyn std::error::Error + Send + Sync>) -> Error {
        Error::FromSqlConversionFailure(self.1 - 1, Type::Text, cause)
    }

    fn id(&mut self) -> Result<RequestId> {
        self.next().map(RequestId::from_bytes)
    }

    /// A number that was stored as a signed one.
    fn number(&mut self) -> Result<u64> {
        Ok(self.next::<i64>()? as u64)
    }

    /// A float that is not a number is stored as NULL.
    fn float(&mut self) -> Result<f32> {
        Ok(self.next::<Option<f32>>()?.unwrap_or(f32::NAN))
    }

    fn optional_name<T: FromStr<Err: Into<Box<dyn std::error::Error + Send + Sync>>>>(
        &mut self,
    ) -> Result<Option<T>> {
        let name = self.raw()?.as_str_or_null().map_err(|cause| self.invalid(cause.into()))?;
        name.map(str::parse).transpose().map_err(|cause: T::Err| self.invalid(cause.into()))
    }

    fn name<T: FromStr<Err: Into<Box<dyn std::error::Error + Send + Sync>>>>(&mut self) -> Result<T> {
        self.optional_name()?.ok_or_else(|| self.invalid("no name".into()))
    }

    fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let text = self.raw()?.as_str_or_null().map_err(|cause| self.invalid(cause.into()))?;
        text.map(serde_json::from_str).transpose().map_err(|cause| self.invalid(cause.into()))
    }

    fn draw(&mut self) -> Result<Option<Draw>> {
        let (probability, happened) = (self.next::<Option<f64>>()?, self.next::<Option<bool>>()?);
        Ok(happened.map(|happened| Draw { probability: probability.unwrap_or(f64::NAN), happened }))
    }

    fn verdict(&mut self) -> Result<Option<Verdict>> {
        let source = self.optional_name::<VerdictSource>()?;
        let (lightweight, powerful, at) = (self.float()?, self.next()?, self.next()?);
        Ok(source.map(|source| Verdict { lightweight, powerful, source, at }))
    }

    fn tickets(&mut self) -> Result<Vec<HeldTicket>> {
        let bytes = self.raw()?.as_blob().map_err(|cause| self.invalid(cause.into()))?;
        let (tickets, rest) = bytes.as_chunks::<TICKET>();
        let read = |ticket: &[u8; TICKET]| {
            let number = |from: usize, to: usize| {
                ticket[from..to].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
            };
            let state = match ticket[20] & !SAMPLED {
                0 => TicketState::Pending,
                1 => TicketState::Good,
                2 => TicketState::Worse,
                _ => return None,
            };
            let (slot, sampled) = (number(0, 4) as u32, ticket[20] & SAMPLED != 0);
            Some(HeldTicket { slot, generation: number(4, 12), state, sampled, deadline: number(12, 20) })
        };
        let read = tickets.iter().map(read).collect::<Option<_>>().filter(|_| rest.is_empty());
        read.ok_or_else(|| self.invalid(format!("tickets of {} bytes that mean nothing", bytes.len()).into()))
    }

    fn embedding(&mut self, dimensions: usize) -> Result<Vec<f32>> {
        let bytes = self.raw()?.as_blob().map_err(|cause| self.invalid(cause.into()))?;
        match bytes.as_chunks::<4>() {
            (floats, []) if floats.len() == dimensions => {
                Ok(floats.iter().map(|x| f32::from_le_bytes(*x)).collect())
            }
            _ => Err(self.invalid(
                format!("an embedding of {} bytes, expected {dimensions} floats", bytes.len()).into(),
            )),
        }
    }
}

/// Adds what is wrong.
pub(super) fn verify(connection: &Connection, found: &mut Vec<String>) -> Result<()> {
    let mut check = connection.prepare("PRAGMA integrity_check")?;
    let lines = check.query_map([], |row| row.get::<_, String>(0))?;
    for line in lines {
        let line = line?;
        if line != "ok" {
            found.push(line);
        }
    }
    let mut foreign = connection.prepare("PRAGMA foreign_key_check")?;
    let orphans = foreign.query_map([], |_| Ok(()))?.count();
    let mut report = |count: usize, what: &str| {
        if count > 0 {
            found.push(format!("{count} {what}"));
        }
    };
    report(orphans, "verdicts have no entry");
    account(connection)?;
    let (mut scores, mut embeddings, mut probabilities) = (0, 0, 0);
    let in_range = |score: f32| (0.0..=1.0).contains(&score);
    let sound = |verdict: Option<Verdict>| {
        verdict.is_none_or(|verdict| in_range(verdict.lightweight) && verdict.powerful.is_none_or(in_range))
    };
    entries(connection, &mut |entry| {
        scores += usize::from(!sound(entry.verdict));
        embeddings += usize::from(!entry.embedding.iter().all(|x| x.is_finite()));
    })?;
    let mut log_scores = 0;
    logs(connection, &mut |entry| {
        log_scores += usize::from(!sound(entry.verdict));
        let Draws { explore, shadow, judge, audit } = entry.draws;
        let draws = [explore, shadow, judge, audit];
        probabilities +=
            usize::from(!draws.iter().flatten().all(|draw| (0.0..=1.0).contains(&draw.probability)));
    })?;
    report(scores, "entries have a verdict with a score outside 0 to 1");
    report(embeddings, "entries have an embedding with an infinite element or NaN");
    report(log_scores, "entries of the log have a verdict with a score outside 0 to 1");
    report(probabilities, "entries of the log have a draw with a probability outside 0 to 1");
    Ok(())
}
