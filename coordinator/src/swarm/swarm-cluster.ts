import type { Cluster } from '../cluster/cluster.ts';
import type { TabBoard } from '../cluster/tab-board.ts';
import type { TabOrders } from '../cluster/tab-orders.ts';

/** The other coordinators, as a swarm sees them. */
export interface SwarmCluster extends Pick<Cluster, 'members' | 'lease' | 'bus'> {
  board: TabBoard;
  orders: TabOrders;
}
