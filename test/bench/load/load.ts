import { createRng } from '@shoal/model';
import { moeLayers } from '@shoal/model';
import { EngineWatch } from '../engine-watch.ts';
import { Rig } from '../rig.ts';
import { Span } from '../span.ts';
import { quantileOf } from '../statistics.ts';
import type { Outcome } from './client.ts';
import { Clients } from './clients.ts';
import { type LoadOptions } from './options.ts';
import { promptsOf } from './prompts.ts';
import { type LoadResult, printLoad } from './report.ts';
import { planRequests, type Workload } from './workload.ts';

/** Enough for the median token time of a single stream, once caches are filled and code is compiled. */
const CALIBRATION: Workload = {
  arrivals: { streams: 1 },
  durationS: 4,
  promptTokens: { median: 16, sigma: 0, min: 1, max: 16 },
  answerTokens: { median: 48, sigma: 0, min: 1, max: 48 },
};

/** Measures a coordinator under a given load, beside the floors that the network and its own work set. */
export async function benchLoad(options: LoadOptions): Promise<void> {
  const { maxBatch, maxQueue, promptLaps } = options;
  const rig = await Rig.start({
    tabs: options.tabs,
    paces: options.paces,
    coordinator: {
      ...(maxBatch !== undefined && { maxBatch }),
      ...(maxQueue !== undefined && { maxQueue }),
      promptLaps,
    },
  });
  const clients = await Clients.open();
  try {
    const result = await runLoad(rig, clients, options);
    if (options.json) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
    else process.stdout.write(printLoad(result));
  } finally {
    await clients.close();
    await rig.close();
  }
}

async function runLoad(rig: Rig, clients: Clients, options: LoadOptions): Promise<LoadResult> {
  const { coordinator } = rig;
  const watch = new EngineWatch(coordinator.forward);
  const rng = createRng(options.seed);
  const run = (workload: Workload): Promise<Outcome[]> =>
    clients.ask({
      url: coordinator.url,
      model: coordinator.scheduler.modelId,
      chains: promptsOf(planRequests(rng, workload), coordinator.tokenizer),
      durationMs: workload.durationS * 1000,
      temperature: options.temperature,
    });
  rig.setLine({ roundTripMs: 0, loss: 0 });
  await run(CALIBRATION);
  const alone = await run(CALIBRATION);
  rig.setLine(options);
  // The dispatcher's figures are still those of the line without delay; this run renews them before anything counts.
  await run({ ...CALIBRATION, durationS: 2 });
  const span = await Span.begin(rig, watch);
  const outcomes = await run(options.workload);
  const figures = await span.end();
  return {
    options,
    outcomes,
    span: figures,
    floors: {
      lapsPerPass: moeLayers(coordinator.config).length,
      tokensPerPass: figures.tokens / figures.streamPasses,
      roundTripMs: figures.roundTrip.p50,
      ownMs: quantileOf(
        alone.flatMap(({ gapsMs }) => gapsMs),
        0.5,
      ),
      prefillRows: coordinator.scheduler.limits.prefillRows,
    },
  };
}
