import OCIModel

// The work of edges: everything that takes time.
extension Solver {
  func perform(_ work: EdgeWork, _ op: ActiveOp) async throws -> RequestStatus.Value {
    switch work {
    case .cacheMap(let index): .cacheMap(try await op.cacheMap(index))
    case .contentKey(let input, let dependency, let result): .contentKey(try await op.contentKey(input, dependency, of: result))
    case .load(let record, let secondary): .result(try await load(record, op, secondary))
    case .execute(let index, let keys, let inputs, let secondary):
      .result(try await execute(op, index: index, keys: keys, inputs: inputs, secondary))
    }
  }

  func answer(_ questions: [CacheQuestion], _ op: ActiveOp) async -> [[CacheKey]] {
    let cache = op.cache
    var answers: [[CacheKey]] = []
    for question in questions {
      do {
        answers.append(
          try await cache.query(question.keys, input: question.input, digest: question.digest, output: question.output))
      } catch {
        options.cacheProblem(error, op.vertex)
        answers.append([])
      }
    }
    return answers
  }

  func records(_ keys: [CacheKey], _ op: ActiveOp) async -> [[CacheRecord]?] {
    let cache = op.cache
    var found: [[CacheRecord]?] = []
    for key in keys {
      do { found.append(try await cache.records(key, context: op.context.cacheContext)) } catch {
        options.cacheProblem(error, op.vertex)
        found.append(nil)
      }
    }
    return found
  }

  private func load(_ record: CacheRecord, _ op: ActiveOp, _ secondary: SecondaryKeys) async throws -> SharedResult {
    let context = op.context.cacheContext
    do {
      let result = try await op.cache.load(record, context: context)
      // Not before: a record that turns out to be gone makes no step a cached one, nor those below it.
      op.progress.started(cached: true)
      op.progress.completed(cached: true)
      return SharedResult(result, cacheKeys: [
        ExportableCacheKey(record.key, export: CacheExport(record: record, secondary: secondary, context: context))
      ])
    } catch {
      // The edge goes on, with another record or by executing.
      if !Task.isCancelled { options.cacheProblem(error, op.vertex) }
      throw Task.isCancelled ? CancellationError() : error
    }
  }

  private func execute(
    _ op: ActiveOp, index: Int, keys: [CacheKey], inputs: [CachedResult], _ secondary: SecondaryKeys
  ) async throws -> SharedResult {
    let outcome: Result<SharedResult, any Error>
    do {
      // The lock of the key before a slot: who waits for another process must not keep others from working.
      if let locking = options.keyLocking, let key = keys.first, !op.vertex.options.ignoreCache {
        let began = options.now()
        let lock = try await locking.lock(try await options.cache.lockNames(key))
        do {
          if let result = await madeElsewhere(op, keys, since: began, secondary) {
            outcome = .success(result)
          } else {
            op.context.holding(lock)
            outcome = .success(try await executeAndSave(op, index: index, keys: keys, inputs: inputs, secondary))
          }
          op.context.holding(nil)
          await lock.unlock()
        } catch {
          op.context.holding(nil)
          await lock.unlock()
          throw error
        }
      } else {
        outcome = .success(try await executeAndSave(op, index: index, keys: keys, inputs: inputs, secondary))
      }
    } catch {
      outcome = .failure(error)
    }
    for input in inputs { await input.release() }
    return try outcome.get()
  }

  /// What another process may have done while the lock was waited for. Older records do not count: had they been good, the edge had found them before;
  /// below an input that was forced to run again they are not.
  private func madeElsewhere(_ op: ActiveOp, _ keys: [CacheKey], since began: Timestamp, _ secondary: SecondaryKeys) async -> SharedResult? {
    for key in keys {
      let records = ((try? await options.cache.records(key, context: op.context.cacheContext)) ?? []).filter { $0.createdAt >= began }
      if let record = CacheRecord.best(of: records), let result = try? await load(record, op, secondary) { return result }
    }
    return nil
  }

  private func executeAndSave(
    _ op: ActiveOp, index: Int, keys: [CacheKey], inputs: [CachedResult], _ secondary: SecondaryKeys
  ) async throws -> SharedResult {
    let outputs = try await op.execute(inputs)
    for (i, output) in outputs.enumerated() where i != index { await output.release() }
    guard index < outputs.count else {
      throw SolverError.wrap(
        SolverError(.invalidGraph, "output \(index) is wanted, but it has only \(outputs.count)"), vertex: op.vertex,
        digest: op.originalDigest, phase: .execute)
    }
    let output = outputs[index]
    var chains: [ExportableCacheKey] = []
    do {
      for key in keys {
        let record = try await options.cache.save(key, output.base, createdAt: options.now())
        chains.append(ExportableCacheKey(
          key, export: CacheExport(record: record, secondary: secondary, context: op.context.cacheContext)))
        chains += op.context.subBuildKeys
      }
    } catch {
      await output.release()
      throw SolverError.wrap(
        SolverError(.cache, "its result could not be saved in the cache", cause: error), vertex: op.vertex,
        digest: op.originalDigest, phase: .save)
    }
    return SharedResult(output, cacheKeys: keys.map { ExportableCacheKey($0, export: CacheExport(others: chains)) })
  }
}
