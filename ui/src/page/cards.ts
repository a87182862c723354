// Which cards there are, from the top: what needs a person first, then what is looked at all the time, then the rest.

import type { RadialAxis } from '../charts/axes';
import { BufferCard, GroupsCard, LossesCard, SourcesCard } from './cards/delivery';
import { histogramCards, radialCard } from './cards/distributions';
import { LogCard, ReceiptCards } from './cards/events';
import { hitRateCard, rateCard, regionCard, saturationCard } from './cards/over-time';
import type { Card } from './view';

export function makeCards(change: (state: { axis?: RadialAxis; log?: boolean }) => void): Card[] {
  const [peaks, resolution, intensity] = histogramCards();
  return [
    new ReceiptCards(),
    new SourcesCard(),
    hitRateCard(),
    radialCard(change),
    regionCard(),
    rateCard(),
    new GroupsCard(),
    new BufferCard(),
    new LossesCard(),
    peaks,
    resolution,
    intensity,
    saturationCard(),
    new LogCard(),
  ];
}
